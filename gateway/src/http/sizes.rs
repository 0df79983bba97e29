//! Results that would have too many items are refused before their command is sent (`limits.maxResultItems`): their lengths
//! are asked for first, those of several calls together. What others add in between is not known; it is a guard, not a lock.

use bytes::BytesMut;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Scope, call, options::Options, pipeline};
use crate::{
    backend::{self, Replies},
    error::Error,
    operation::{
        Id,
        arguments::Arguments,
        bounds::{self, Limits, Question},
    },
    shared::Shared,
    worker::Database,
};

/// What numbers in a call may ask for.
pub(super) fn limits(shared: &Shared) -> Limits {
    Limits { value_bytes: shared.max_value_bytes, items: shared.max_result_items }
}

/// Asks for one call. What else is wrong with it is found when it is made.
pub(super) async fn one(scope: Scope<'_>, id: Id, arguments: &Arguments<'_>, options: &Options, started: Instant) -> Result<(), Error> {
    let mut command = BytesMut::new();
    match options.unrecorded().encode(scope, id, arguments, &mut command) {
        Ok(_) => encoded(scope, id, &command, options, started).await,
        Err(_) => Ok(()),
    }
}

/// Asks for a command.
pub(super) async fn encoded(scope: Scope<'_>, id: Id, command: &[u8], options: &Options, started: Instant) -> Result<(), Error> {
    let question = scope.worker.shared.max_result_items.and_then(|most| bounds::question(id, command, most));
    let refused = ask(scope.database, vec![question], started + options.timeout).await;
    refused.into_iter().next().flatten().map_or(Ok(()), Err)
}

/// Asks for the calls of a pipeline: why each is refused, if it is.
pub(super) async fn several(scope: Scope<'_>, calls: &[&RawValue], options: &Options, started: Instant) -> Vec<Option<Error>> {
    let shared = &scope.worker.shared;
    let question = |call: &&RawValue| {
        let (id, given, options) = pipeline::prepare(call, options, scope).ok()?;
        let mut command = BytesMut::new();
        options.unrecorded().encode(scope, id, &given, &mut command).ok()?.1.forget();
        bounds::question(id, &command, shared.max_result_items?)
    };
    let questions = calls.iter().map(question).collect();
    ask(scope.database, questions, started + options.timeout).await
}

/// As [`several`], of commands that are encoded already.
pub(super) async fn commands(scope: Scope<'_>, commands: Vec<Option<(Id, &[u8])>>, deadline: Instant) -> Vec<Option<Error>> {
    let most = scope.worker.shared.max_result_items;
    let question = |command: Option<(Id, &[u8])>| command.and_then(|(id, command)| bounds::question(id, command, most?));
    ask(scope.database, commands.into_iter().map(question).collect(), deadline).await
}

/// Without an answer nothing is refused: the call itself meets the same database.
async fn ask(database: &Database, questions: Vec<Option<Question>>, deadline: Instant) -> Vec<Option<Error>> {
    let count = questions.iter().flatten().map(|question| question.count).sum();
    if count == 0 {
        return Vec::new();
    }
    let commands: Vec<u8> = questions.iter().flatten().flat_map(|question| &question.commands).copied().collect();
    let replies: Replies = std::iter::repeat_n(true, count).collect();
    let Ok(pending) = database.backend.submit(&commands, replies) else { return Vec::new() };
    let Ok(frames) = backend::replies(pending, deadline).await else { return Vec::new() };
    let mut rest = &frames[..];
    let judge = |question: Option<Question>| {
        let question = question?;
        let mut next = || call::next_reply(&mut rest).ok().and_then(bounds::length);
        let lengths: Vec<Option<u64>> = (0..question.count).map(|_| next()).collect();
        question.judge(&lengths).err()
    };
    questions.into_iter().map(judge).collect()
}
