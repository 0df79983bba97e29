//! Hundreds of sockets that call without an end while the pods under them are replaced.

use anyhow::ensure;
use serde::Deserialize;
use serde_json::json;

use crate::{
    case::case,
    rollout::{ended, revision, rolled, selector},
    suite::say,
    world::{DEADLINE, World, managed},
};

const SOCKETS: u64 = 500;

/// What the client has counted; see `e2e/src/sockets.rs`.
#[derive(Debug, Deserialize)]
struct Counts {
    answered: u64,
    /// Calls that a close left unanswered. They were made again, and would have been found if they had been executed.
    repeated: u64,
    /// Closes with 1012; any other end of a socket is a failure.
    restarts: u64,
    refused: u64,
    open: u64,
    written: u64,
    heard: u64,
    /// How far the follower of the stream has come that is the furthest behind.
    followed: u64,
    failed: u64,
    failures: String,
}

impl Counts {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.failed == 0, "{} failures: {}", self.failed, self.failures);
        Ok(())
    }
}

/// Waits until every socket is open, was closed so often, and all that follow have what had been written.
async fn gone_on(world: &World, client: &str, closes: u64) -> anyhow::Result<Counts> {
    let before: Option<Counts> = world.last_line(client).await.ok();
    let (answered, written) = before.map_or((0, 0), |counts| (counts.answered, counts.written));
    let counts: Counts = world
        .until("sockets go on", DEADLINE, async || {
            let counts: Counts = world.last_line(client).await?;
            let all = counts.open == SOCKETS && counts.restarts >= closes && counts.answered > answered + 10 * SOCKETS;
            ensure!(counts.failed > 0 || all && counts.followed > written, "{counts:?}");
            Ok(counts)
        })
        .await;
    counts.check()?;
    Ok(counts)
}

#[test]
fn restarts_lose_no_call_of_a_socket_and_nothing_that_is_followed() {
    case("sockets", async |world| {
        world.create("cache", &json!({ "replicas": 2, "config": managed() }))?;
        let gateway = world.settled("cache").await;
        let client = world.client_pod("sockets", &["sockets", "ws://cache:3000/api/v1/redis/ws", &SOCKETS.to_string(), "100"]).await?;
        gone_on(world, &client, 0).await?;
        for restart in 1..=2 {
            let first = revision(world, "cache").await?;
            world.kubectl(&["rollout", "restart", "deployment/cache"])?;
            rolled(world, "cache", first).await;
            ended(world, &selector(&gateway), 2).await;
            let counts = gone_on(world, &client, restart * SOCKETS).await?;
            say(&format!(
                "restart {restart} under {SOCKETS} sockets: {} calls answered, {} closes, all 1012; {} calls left unread and made \
                 again, {} sockets refused by a gateway about to stop; {} messages heard, {} entries followed",
                counts.answered, counts.restarts, counts.repeated, counts.refused, counts.heard, counts.followed
            ));
        }
        Ok(())
    });
}
