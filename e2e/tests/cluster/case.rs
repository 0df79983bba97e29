//! One test: its place among the others, its namespace, and what is kept when it fails.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, resume_unwind},
    time::Instant,
};

use futures::FutureExt;

use crate::{
    suite::{Permit, install, say, suite},
    world::World,
};

/// What a test gives.
pub(crate) type Outcome = anyhow::Result<()>;

/// Runs a test beside others.
pub(crate) fn case(name: &str, body: impl AsyncFnOnce(&World) -> Outcome) {
    let permit = suite().shared();
    run(name, permit, body);
}

/// Runs a test that nothing else may run beside.
pub(crate) fn serial_case(name: &str, body: impl AsyncFnOnce(&World) -> Outcome) {
    let permit = suite().alone();
    run(name, permit, async |world: &World| {
        let outcome = AssertUnwindSafe(body(world)).catch_unwind().await;
        // Whatever it did to the operator, the next one finds it as it was.
        install(&suite().tag, &suite().tag, &[]).map_err(anyhow::Error::msg)?;
        outcome.unwrap_or_else(|panic| resume_unwind(panic))
    });
}

fn run(name: &str, _permit: Permit, body: impl AsyncFnOnce(&World) -> Outcome) {
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let failure: Option<Box<dyn Any + Send>> = runtime.block_on(async {
        let world = World::new(name).await.expect("the namespace is made");
        let outcome = AssertUnwindSafe(body(&world)).catch_unwind().await;
        let failure: Option<Box<dyn Any + Send>> = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Box::new(format!("{error:#}"))),
            Err(panic) => Some(panic),
        };
        if let Some(failure) = &failure {
            let text = failure.downcast_ref::<String>().map(String::as_str).or_else(|| failure.downcast_ref::<&str>().copied());
            say(&format!("{name} failed: {}\n{}", text.unwrap_or("a panic"), world.keep_logs().await));
        }
        world.remove().await;
        failure
    });
    say(&format!("{name}: {} after {:.1?}", if failure.is_some() { "FAILED" } else { "ok" }, start.elapsed()));
    if let Some(failure) = failure {
        resume_unwind(failure);
    }
}
