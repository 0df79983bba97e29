//! What is made of files that may change: looked at each second, made anew when they have, kept as it is when they are wrong.

use std::{sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::secret::Text;

/// How often files are looked at.
pub const LOOK: Duration = Duration::from_secs(1);

/// Makes something of texts, and of what it was before, and goes on to do so as long as anybody follows. What is wrong at the beginning is the caller's;
/// what is wrong later is said once in the log, and what was there before stays. Runs on a runtime.
pub fn follow<T: Send + Sync + 'static>(
    setting: impl Into<String>,
    texts: Vec<Text>,
    make: impl Fn(&[String], Option<&T>) -> Result<T, String> + Send + 'static,
) -> Result<watch::Receiver<Arc<T>>, String> {
    let (setting, found) = (setting.into(), read(&texts)?);
    let (sender, receiver) = watch::channel(Arc::new(make(&found, None)?));
    let (mut known, mut mistake) = (fingerprint(&found), String::new());
    drop(found);
    tokio::spawn(async move {
        while !sender.is_closed() {
            tokio::time::sleep(LOOK).await;
            let made = read(&texts).and_then(|found| {
                let print = fingerprint(&found);
                if print == known {
                    return Ok(false);
                }
                let made = make(&found, Some(&sender.borrow()))?;
                sender.send_replace(Arc::new(made));
                known = print;
                Ok(true)
            });
            match made {
                Ok(false) => mistake.clear(),
                Ok(true) => {
                    mistake.clear();
                    tracing::info!("{setting}: new files are in use");
                }
                Err(message) if message != mistake => {
                    tracing::warn!("{setting}: new files cannot be used, the old ones stay in use: {message}");
                    mistake = message;
                }
                Err(_) => {}
            }
        }
    });
    Ok(receiver)
}

fn read(texts: &[Text]) -> Result<Vec<String>, String> {
    texts.iter().map(|text| text()).collect()
}

/// What tells texts from others and nothing of them, so that no secret is kept for it.
fn fingerprint(texts: &[String]) -> Vec<[u8; 32]> {
    texts.iter().map(|text| Sha256::digest(text).into()).collect()
}
