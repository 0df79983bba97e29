//! `docs/examples/board.html`: what people copy works, from another origin, and loses nothing when the gateway goes.

use serde_json::json;

use super::{Browser, site};
use crate::support::{App, Gateway, Redis, SOON};

const PAGE: &str = include_str!("../../../../docs/examples/board.html");

fn page(origin: &str, gateway: &Gateway) -> String {
    format!("{origin}/board.html?gateway=ws://localhost:{}/api/v1/redis/ws", gateway.data.number)
}

fn write(browser: &Browser, text: &str) {
    browser.fill("#text", text);
    browser.click("#form button");
}

#[test]
fn two_tabs_talk_and_miss_nothing_when_the_gateway_goes() {
    let origin = site(PAGE);
    let settings = format!("cors.origins={origin}");
    let mut app = App::with(&[&settings, "drain.propagation=0s"]);
    let other = Gateway::start(&app.redis, &[]);
    let browser = Browser::start();
    browser.open(&page(&origin, &app.gateway));
    let first = browser.tab();
    let second = browser.open_beside(&page(&origin, &app.gateway));
    browser.says("#status", "Live");
    write(&browser, "begun");
    browser.says("#messages", "begun");
    browser.switch(&first);
    browser.says("#messages", "begun");
    write(&browser, "answered");
    browser.switch(&second);
    browser.says("#messages", "begun\nanswered");
    assert_eq!(browser.console(), Vec::<String>::new());

    let mut expected = "begun\nanswered".to_owned();
    for (round, signal) in ["TERM", "KILL"].into_iter().enumerate() {
        app.gateway.signal(signal);
        app.gateway.wait(SOON);
        browser.says("#status", "Connecting again");
        // What is said meanwhile, here and through another gateway.
        let elsewhere = json!({ "id": signal, "text": format!("elsewhere {round}") }).to_string();
        let args = json!({ "key": "board:kept", "channel": "board", "message": elsewhere });
        assert_eq!(other.anonymous().post("publish_and_keep", args.to_string()).status, 200);
        write(&browser, &format!("kept {round}"));
        app.gateway.start_again();
        expected.push_str(&format!("\nelsewhere {round}\nkept {round}"));
        for tab in [&first, &second] {
            browser.switch(tab);
            browser.says("#messages", &expected);
            browser.says("#status", "Live");
        }
    }
    // Nothing is shown twice either.
    for tab in [&first, &second] {
        browser.switch(tab);
        assert_eq!(browser.text("#messages"), expected);
    }
    // A browser says itself when nobody answers.
    let complaints: Vec<String> = browser.console().into_iter().filter(|line| !line.contains("WebSocket connection to")).collect();
    assert_eq!(complaints, Vec::<String>::new());
}

#[test]
fn pages_of_others_are_refused() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis, &["cors.origins=https://app.example"]);
    let browser = Browser::start();
    browser.open(&page(&site(PAGE), &gateway));
    browser.says("#status", "Connecting again");
    let complaints = browser.console();
    assert!(complaints.iter().any(|line| line.contains("Unexpected response code: 403")), "{complaints:?}");
    assert_eq!(redis.line("EXISTS board:kept"), "0");
}
