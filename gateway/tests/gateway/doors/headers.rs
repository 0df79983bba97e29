//! What every answer tells browsers.

use crate::support::App;

#[test]
fn answers_are_what_they_say() {
    let app = App::with(&["limits.maxConnections=1"]);
    let client = app.anonymous();
    for path in ["strings/a", "/api/v1", "/openapi.json", "/docs", "/docs/page.js", "/docs/errors", "/nothing"] {
        let response = client.get(path);
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
        // Browsers that come without TLS are not told to come with it.
        assert_eq!(response.header("strict-transport-security"), None, "{path}");
    }
    // The first may come before the last of those above has gone, and is turned away itself.
    let mut held = Vec::new();
    crate::support::until("the refusal", crate::support::SOON, || {
        held.push(client.connect());
        let refused = client.connect().exchange(&client.request("GET", "strings/a", None)).ok()?;
        (refused.status == 503).then(|| assert_eq!(refused.header("x-content-type-options"), Some("nosniff")))
    });
}

#[test]
fn pages_are_on_their_own() {
    let app = App::start();
    for path in ["/docs", "/docs/errors"] {
        let response = app.anonymous().get(path);
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(response.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(response.header("cross-origin-resource-policy"), Some("same-origin"), "{path}");
    }
}
