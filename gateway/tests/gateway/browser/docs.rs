//! `/docs`: a call made from the page, and its answer seen there.

use super::Browser;
use crate::support::App;

/// The fields of an operation, and what it was answered.
struct Form<'a> {
    browser: &'a Browser,
    operation: String,
}

impl<'a> Form<'a> {
    /// Unfolds an operation and its fields.
    fn open(browser: &'a Browser, group: &str, id: &str) -> Self {
        let form = Self { browser, operation: format!("#operations-{group}-{id}") };
        form.browser.click(&form.at(".opblock-summary-control"));
        form.browser.click(&form.at(".try-out__btn"));
        // This machine may be slow.
        form.browser.fill(&form.at("tr[data-param-name='DBX-Timeout'] input"), "20s");
        form
    }

    fn at(&self, inner: &str) -> String {
        format!("{} {inner}", self.operation)
    }

    fn execute(&self, answer: &str) {
        self.browser.click(&self.at(".execute"));
        self.browser.says(&self.at(".live-responses-table .response .response-col_status"), "200");
        self.browser.says(&self.at(".live-responses-table .response .response-col_description"), answer);
    }
}

#[test]
fn calls_are_made_from_the_page() {
    let app = App::start();
    let origin = format!("http://localhost:{}", app.gateway.data.number);
    let browser = Browser::start();
    browser.open(&format!("{origin}/docs"));
    browser.says(".info .title", "DBX");

    browser.click(".btn.authorize");
    browser.fill(".auth-container input", "dbx_of_a_person");
    browser.click(".auth-container .authorize");
    browser.click(".auth-container .btn-done");

    browser.click("#operations-tag-strings");
    let set = Form::open(&browser, "strings", "set");
    browser.fill(&set.at(".body-param__text"), r#"{"key": "a/b ü", "value": "seen"}"#);
    set.execute("OK");
    assert_eq!(app.redis.run(&[b"GET", "a/b ü".as_bytes()]), "seen");

    let get = Form::open(&browser, "strings", "get_strings__key_");
    browser.fill(&get.at("tr[data-param-name='key'] input"), "a/b ü");
    get.execute("seen");

    let requests = browser.requests();
    let call = requests.iter().find(|request| request.url.contains("/redis/strings/")).expect("the page has made the call");
    assert_eq!((call.method.as_str(), call.headers["Authorization"].as_str()), ("GET", Some("Bearer dbx_of_a_person")), "{call:?}");
    for request in &requests {
        // Pictures of the library are in its styles.
        assert!(request.url.starts_with(&origin) || request.url.starts_with("data:"), "it asks others: {request:?}");
    }
    assert_eq!(browser.console(), Vec::<String>::new());
}
