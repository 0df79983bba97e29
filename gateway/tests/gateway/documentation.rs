//! What README and the guide tell people to type: every `sh` block is run by a shell, one file after the other on fresh data.
//! A `json` block that follows is the answer to its last command, where `…` is whatever it is; without one, it succeeds.
//! A `frames` block is what is sent (`→`) and received (`←`) over a WebSocket of its own. Frames that follow each other may
//! come in any order.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::support::App;

enum Block {
    Shell { script: String, answer: Option<Value> },
    Frames(String),
}

/// The blocks of a page that are run.
fn blocks(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap();
    let mut blocks = Vec::new();
    let mut answers = false;
    for (index, part) in text.split("\n```").enumerate() {
        // Parts are text and blocks in turn.
        if index % 2 == 0 {
            answers &= part.trim().is_empty();
            continue;
        }
        let (language, content) = part.split_once('\n').unwrap_or((part, ""));
        match (language, blocks.last_mut()) {
            ("sh", _) => blocks.push(Block::Shell { script: content.to_owned(), answer: None }),
            ("frames", _) => blocks.push(Block::Frames(content.to_owned())),
            ("json", Some(Block::Shell { answer, .. })) if answers => {
                let written = serde_json::from_str(content);
                *answer = Some(written.unwrap_or_else(|error| panic!("{}: {error}: {content}", page.display())));
            }
            _ => {}
        }
        answers = language == "sh";
    }
    blocks
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages.extend(self::pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    pages
}

/// Whether an answer is what the page says.
fn is_as_written(written: &Value, found: &Value) -> bool {
    match (written, found) {
        (Value::String(text), _) if text == "…" => true,
        (Value::Array(ones), Value::Array(others)) => {
            ones.len() == others.len() && ones.iter().zip(others).all(|(one, other)| is_as_written(one, other))
        }
        (Value::Object(ones), Value::Object(others)) => {
            ones.len() == others.len() && ones.iter().all(|(name, one)| others.get(name).is_some_and(|other| is_as_written(one, other)))
        }
        _ => written == found,
    }
}

/// Says over a socket what a block says, and hears what it hears.
fn converse(app: &App, block: &str, page: &str) -> usize {
    let mut socket = app.anonymous().socket("ws");
    let mut lines = block.lines().peekable();
    let mut compared = 0;
    while let Some(line) = lines.next() {
        let Some(written) = line.strip_prefix("← ") else {
            socket.send(line.strip_prefix("→ ").unwrap_or_else(|| panic!("{page}: a frame begins with → or ←: {line}")));
            continue;
        };
        let mut expected = vec![written];
        expected.extend(std::iter::from_fn(|| lines.next_if(|line| line.starts_with("← "))).map(|line| &line["← ".len()..]));
        while !expected.is_empty() {
            let found = socket.json();
            let place = expected.iter().position(|written| is_as_written(&serde_json::from_str(written).unwrap(), &found));
            let place = place.unwrap_or_else(|| panic!("{page}:\nsays one of {expected:#?}\nfound {found}"));
            expected.remove(place);
            compared += 1;
        }
    }
    compared
}

#[test]
fn what_the_pages_say_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let app = App::start();
    let home = tempfile::tempdir().unwrap();
    // Behind each answer its status, on a line of its own.
    fs::write(home.path().join(".curlrc"), "silent\nshow-error\nwrite-out = \"\\n%{http_code}\\n\"\n").unwrap();
    let (data, operations) = (format!("localhost:{}", app.gateway.data.number), format!("localhost:{}", app.gateway.operations.number));
    let (mut count, mut compared) = (0, 0);
    for page in [vec![root.join("README.md")], pages(&root.join("docs/src"))].concat() {
        app.redis.clear();
        let name = page.strip_prefix(root).unwrap().display();
        for block in blocks(&page) {
            count += 1;
            let (script, answer) = match block {
                Block::Shell { script, answer } => (script, answer),
                Block::Frames(frames) => {
                    compared += converse(&app, &frames, &name.to_string());
                    continue;
                }
            };
            let place = format!("{name}:\n{script}\n");
            assert!(script.contains("curl") && script.contains("localhost:"), "{place}`sh` is for what is run here; `bash` for the rest");
            let script = script.replace("localhost:3000", &data).replace("localhost:9090", &operations);
            let output = Command::new("sh").args(["-euc", &script]).env("CURL_HOME", home.path()).current_dir(&home).output().unwrap();
            assert!(output.status.success(), "{place}{}", String::from_utf8_lossy(&output.stderr));
            let output = String::from_utf8_lossy(&output.stdout).into_owned();
            let lines: Vec<&str> = output.lines().collect();
            let answers: Vec<_> = lines.chunks(2).map(|pair| (pair[0], pair[1])).collect();
            let (last, before) = answers.split_last().unwrap_or_else(|| panic!("{place}no answer"));
            assert!(before.iter().all(|(_, status)| *status == "200"), "{place}{output}");
            let expected = answer.as_ref().and_then(|answer| answer["status"].as_u64()).unwrap_or(200);
            assert_eq!(last.1, expected.to_string(), "{place}{output}");
            if let Some(answer) = answer {
                let found = serde_json::from_str(last.0).unwrap();
                assert!(is_as_written(&answer, &found), "{place}says   {answer}\nanswer {found}");
                compared += 1;
            }
        }
    }
    assert!(count > 20 && compared > 15, "{count} {compared}");
    println!("{count} blocks of the documentation run, {compared} answers compared");
}
