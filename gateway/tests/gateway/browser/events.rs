//! What a browser's own `EventSource` makes of the gateway's events: it hears a channel, and follows a stream to where it was when
//! its connection was cut.

use std::{
    io,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use super::{Browser, site};
use crate::support::App;

/// Shows the events of a channel and of a stream, line by line.
const PAGE: &str = r#"<!doctype html>
<meta charset="utf-8">
<pre id="channel"></pre>
<pre id="stream"></pre>
<script>
    const base = new URLSearchParams(location.search).get("base");
    function listen(path, id, tell) {
        const shown = document.getElementById(id);
        const source = new EventSource(base + path);
        const say = (line) => { shown.textContent += line + "\n"; };
        source.addEventListener("subscribed", () => say("subscribed"));
        source.addEventListener("message", (event) => say(tell(JSON.parse(event.data), event)));
    }
    listen("channels/news", "channel", (data) => data.message);
    listen("streams/orders?follow&from=0", "stream", (data, event) => `${event.lastEventId} ${data.fields.item}`);
</script>
"#;

/// A way to a port that can be cut.
struct Relay {
    port: u16,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    /// Until the process ends.
    fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, open) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<TcpStream>>>::default());
        let all = open.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", target)).unwrap();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
                all.lock().unwrap().extend([client, server]);
            }
        });
        Self { port, open }
    }

    /// Ends all connections; who comes again is let through.
    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn a_browser_hears_a_channel_and_follows_a_stream_from_where_it_was() {
    let origin = site(PAGE);
    let app = App::with(&[&format!("cors.origins={origin}")]);
    let relay = Relay::to(app.gateway.data.number);
    app.redis.line("XADD orders 1-0 item tea");
    let browser = Browser::start();
    browser.open(&format!("{origin}/?base=http://localhost:{}/api/v1/redis/", relay.port));
    browser.says("#channel", "subscribed");
    app.redis.line("PUBLISH news hello");
    browser.says("#channel", "subscribed\nhello");
    browser.says("#stream", "subscribed\n1-0 tea");
    assert_eq!(browser.console(), Vec::<String>::new());

    relay.cut();
    // What is added while nobody follows is told to who comes back, and nothing twice: `Last-Event-ID` goes before `from`.
    app.redis.line("XADD orders 2-0 item milk");
    browser.says("#stream", "2-0 milk");
    app.redis.line("XADD orders 3-0 item bread");
    browser.says("#stream", "3-0 bread");
    assert_eq!(browser.text("#stream"), "subscribed\n1-0 tea\nsubscribed\n2-0 milk\n3-0 bread");
    browser.says("#channel", "subscribed\nhello\nsubscribed");
    app.redis.line("PUBLISH news again");
    browser.says("#channel", "subscribed\nhello\nsubscribed\nagain");
}
