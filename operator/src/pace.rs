//! The pace of watches. One that ended is begun again at once by kube-runtime (5.0) unless it ended with an error; an API server
//! or a proxy that closes each would be asked thousands of times a second.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use hyper::Request;
use kube::client::Body;
use tokio::time::{Instant, sleep_until};
use tower::{Layer, Service};

/// How often a watch of one kind may begin.
const PACE: Duration = Duration::from_secs(1);

/// When the watch of each path may begin again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace(Arc<Mutex<HashMap<String, Instant>>>);

impl Pace {
    /// When a request may be sent, if not now.
    fn begin(&self, request: &Request<Body>, now: Instant) -> Option<Instant> {
        let watches = request.uri().query().is_some_and(|query| query.split('&').any(|field| field == "watch=true"));
        if !watches {
            return None;
        }
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = next.entry(request.uri().path().to_owned()).or_insert(now);
        let begin = (*next).max(now);
        *next = begin + PACE;
        (begin > now).then_some(begin)
    }
}

impl<S> Layer<S> for Pace {
    type Service = Paced<S>;

    fn layer(&self, inner: S) -> Paced<S> {
        Paced { pace: self.clone(), inner }
    }
}

/// A client that keeps the pace.
pub(crate) struct Paced<S> {
    pace: Pace,
    inner: S,
}

impl<S> Service<Request<Body>> for Paced<S>
where
    S: Service<Request<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let begin = self.pace.begin(&request, Instant::now());
        // Nothing is sent before the response is waited for.
        let response = self.inner.call(request);
        async move {
            if let Some(begin) = begin {
                sleep_until(begin).await;
            }
            response.await
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_watches_that_come_too_soon_wait() {
        let (pace, now) = (Pace::default(), Instant::now());
        let begin = |uri: &str, after: u64| {
            let request = Request::get(uri).body(Body::empty()).unwrap();
            let at = now + Duration::from_millis(after);
            pace.begin(&request, at).map(|begin| (begin - now).as_millis())
        };
        assert_eq!(begin("/api/v1/services?limit=500", 0), None);
        assert_eq!(begin("/api/v1/services?limit=500", 0), None);
        assert_eq!(begin("/api/v1/services?&watch=true&timeoutSeconds=290", 0), None);
        assert_eq!(begin("/api/v1/services?&watch=true&resourceVersion=7", 10), Some(1000));
        assert_eq!(begin("/api/v1/configmaps?&watch=true", 10), None);
        assert_eq!(begin("/api/v1/services?&watch=true", 20), Some(2000));
        assert_eq!(begin("/api/v1/services?&watch=true", 60_000), None);
    }
}
