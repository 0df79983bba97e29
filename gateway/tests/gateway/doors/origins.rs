//! What a browser asks for on behalf of somebody else's page: refused over everything that can be listened to.

use crate::support::{App, Client, Events};

const FRIEND: &str = "https://app.example";
const OTHERS: [&str; 4] = ["https://evil.example", "null", "https://app.example.evil.example", "http://app.example"];
/// Who may not say where it comes from is told so before anything is begun.
const REFUSED: &str = "403";

fn app(settings: &[&str]) -> App {
    let own = format!("cors.origins={FRIEND}");
    App::with(&[&[own.as_str()], settings].concat())
}

fn opens(client: &Client, path: &str) -> Result<(), String> {
    client.try_socket(path).map(drop)
}

#[test]
fn pages_of_others_hear_nothing() {
    let app = app(&[]);
    let client = app.anonymous();
    app.redis.line("XADD s 1-0 f v");
    for origin in OTHERS {
        let page = client.with("Origin", origin);
        for path in ["channels/news", "channels?pattern=*", "streams/s?follow&from=0"] {
            page.get(path).fails(403, "forbidden", "Origin");
        }
        for path in ["ws", "/api/v1/ws"] {
            assert!(opens(&page, path).unwrap_err().contains(REFUSED), "{origin} {path}");
        }
    }
    assert_eq!(app.redis.line("PUBSUB CHANNELS"), "*0\r\n");
    assert_eq!(app.redis.line("PUBSUB NUMPAT"), "0");
    let page = client.with("Origin", FRIEND);
    let mut events = Events::open(&page, "channels/news");
    assert_eq!(events.response.header("access-control-allow-origin"), Some(FRIEND));
    // A browser sends no cookie or certificate of its own with what a page asks for.
    assert_eq!(events.response.header("access-control-allow-credentials"), None);
    events.is("subscribed");
    assert_eq!(opens(&page, "ws"), Ok(()));
}

/// A socket may say who it is in its first frame: where it comes from is looked at before.
#[test]
fn who_says_later_who_it_is_says_first_where_it_comes_from() {
    let app = app(&["auth.mode=required"]);
    for path in ["ws", "/api/v1/ws"] {
        for origin in OTHERS {
            let refused = opens(&app.anonymous().with("Origin", origin), path);
            assert!(refused.as_ref().is_err_and(|error| error.contains(REFUSED)), "{origin} {path}: {refused:?}");
        }
        assert_eq!(opens(&app.anonymous().with("Origin", FRIEND), path), Ok(()));
        // Programs do not say it, and a credential will be asked for: any name of the gateway will do.
        assert_eq!(opens(&app.anonymous(), path), Ok(()));
        assert_eq!(opens(&app.anonymous().with("Host", "cache.example"), path), Ok(()));
    }
    for path in ["channels/news", "streams/s?follow&from=0"] {
        app.anonymous().with("Origin", OTHERS[0]).get(path).fails(401, "unauthenticated", "");
    }
}
