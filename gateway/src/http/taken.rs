//! Answers with something that was taken out of the database: until their last byte is in the client's socket, it can be put
//! back. A response carries it to its connection, its body hands it over with its bytes, and the socket lets it go.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    http::Response,
};
use hyper::body::{Frame, SizeHint};

use crate::backend::Taken;

/// Carries what was taken through layers that know nothing of it.
#[derive(Clone)]
struct Carried(Arc<Mutex<Option<Taken>>>);

/// Lets a response carry what was taken.
pub(super) fn attach(mut response: Response<Body>, taken: Taken) -> Response<Body> {
    response.extensions_mut().insert(Carried(Arc::new(Mutex::new(Some(taken)))));
    response
}

/// Takes it off a response, where one carries it.
pub(super) fn detach<B>(response: &mut Response<B>) -> Option<Taken> {
    let Carried(taken) = response.extensions_mut().remove()?;
    taken.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// What is in an answer that a connection is writing.
#[derive(Clone, Default)]
pub struct Outgoing(Arc<Mutex<Vec<Taken>>>);

impl Outgoing {
    fn lock(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the body of a response hand over what the response carries.
    pub fn watch(&self, mut response: Response<Body>) -> Response<Body> {
        match detach(&mut response) {
            None => response,
            Some(taken) => response.map(|body| Body::new(Handing { body, taken: Some(taken), to: self.clone() })),
        }
    }

    /// Whether there is something that has to arrive.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// All of it is in the client's socket.
    pub(super) fn delivered(&self) {
        mem::take(&mut *self.lock()).into_iter().for_each(Taken::delivered);
    }
}

/// A body that hands over what was taken together with the bytes that tell of it.
struct Handing {
    body: Body,
    taken: Option<Taken>,
    to: Outgoing,
}

impl hyper::body::Body for Handing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let (Poll::Ready(_), Some(taken)) = (&polled, self.taken.take()) {
            self.to.lock().push(taken);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
