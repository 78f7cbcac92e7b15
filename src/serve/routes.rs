//! What is answered under which address.

use super::Options;
use super::counts::{self, Counts};
use super::openapi;
use super::request::{Answers, Bounds, Object, Refusal, Refused, Request, Requests};
use super::served::Served;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest, Query, State as Held};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Request as HttpRequest, Response, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

/// What all routes share.
#[derive(Clone)]
pub struct State(Arc<Shared>);

struct Shared {
    now: Arc<RwLock<Arc<Served>>>,
    counts: Counts,
    registry: Registry,
    bounds: Bounds,
    requests: usize,
    body: usize,
    timeout: Duration,
    since: Instant,
}

impl State {
    pub fn new(
        now: Arc<RwLock<Arc<Served>>>,
        (counts, registry): (Counts, Registry),
        bounds: Bounds,
        options: &Options,
    ) -> State {
        let Options { max_requests: requests, max_body: body, timeout, .. } = *options;
        State(Arc::new(Shared { now, counts, registry, bounds, requests, body, timeout, since: Instant::now() }))
    }

    /// The run that answers now. Who has it is answered by it, whatever takes its place meanwhile.
    fn served(&self) -> Arc<Served> {
        self.0.now.read().expect("nothing panics while it writes").clone()
    }
}

pub fn all(state: State) -> Router {
    let body = state.0.body;
    Router::new()
        .route("/", get(async || Html(include_str!("page.html"))))
        .route("/recommend", post(recommend))
        .route("/recommend/batch", post(recommend_batch))
        .route("/items", get(items))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi))
        .fallback(async |uri: Uri| {
            Refusal(StatusCode::NOT_FOUND, format!("nothing is at {}; see /openapi.json", uri.path()))
        })
        .method_not_allowed_fallback(async || {
            Refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "this address is asked in another way; see /openapi.json".to_string(),
            )
        })
        .layer(DefaultBodyLimit::max(body))
        .layer(middleware::from_fn_with_state(state.clone(), counted))
        .with_state(state)
}

/// Counts a request, and ends it when its time is up.
async fn counted(Held(state): Held<State>, request: HttpRequest<Body>, next: Next) -> Response<Body> {
    const ROUTES: [&str; 7] = ["/", "/recommend", "/recommend/batch", "/items", "/health", "/metrics", "/openapi.json"];
    let route = ROUTES.into_iter().find(|route| *route == request.uri().path()).unwrap_or("other");
    let start = Instant::now();
    let timeout = state.0.timeout;
    let response = match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => late(timeout).into_response(),
    };
    state.0.counts.asked(route, response.status().as_u16(), start.elapsed().as_secs_f64());
    response
}

fn late(timeout: Duration) -> Refusal {
    let why = format!("no answer within {} s; ask again in a moment", timeout.as_secs_f64());
    Refusal(StatusCode::GATEWAY_TIMEOUT, why)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let Refusal(status, error) = self;
        let mut response = (status, json(&Refused { error })).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn json(value: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_string(value).expect("plain data");
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

/// The body of a request, as JSON.
async fn read<T: DeserializeOwned>(state: &State, request: HttpRequest<Body>) -> Result<T, Refusal> {
    let body = axum::body::Bytes::from_request(request, state).await.map_err(|e| match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {} bytes", state.0.body))
        }
        _ => Refusal(StatusCode::BAD_REQUEST, "the body could not be read".to_string()),
    })?;
    let mut reader = serde_json::Deserializer::from_slice(&body);
    let read = serde_path_to_error::deserialize(&mut reader)
        .map(|Object(value)| value)
        .map_err(|e| (e.path().to_string(), e.into_inner()));
    let read = read.and_then(|value| reader.end().map(|()| value).map_err(|e| (".".to_string(), e)));
    read.map_err(|(path, e)| {
        let status = if e.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
        let at = if path == "." { "the body".to_string() } else { path };
        Refusal(status, format!("{at}: {e}; /openapi.json says what is expected"))
    })
}

async fn recommend(Held(state): Held<State>, request: HttpRequest<Body>) -> Result<Response<Body>, Refusal> {
    let deadline = Instant::now() + state.0.timeout;
    let request: Request = read(&state, request).await?;
    let answers = state.served().recommend(&[request], state.0.bounds, deadline).await.map_err(|e| e.refusal)?;
    Ok(json(&answers[0]))
}

async fn recommend_batch(Held(state): Held<State>, request: HttpRequest<Body>) -> Result<Response<Body>, Refusal> {
    let deadline = Instant::now() + state.0.timeout;
    let Requests { requests } = read(&state, request).await?;
    let requests: Vec<Request> = requests.into_iter().map(|request| request.0).collect();
    if !(1..=state.0.requests).contains(&requests.len()) {
        let (found, most) = (requests.len(), state.0.requests);
        return Err(Refusal::wrong(format!("requests: found {found}; expected 1 to {most}")));
    }
    let answers = state.served().recommend(&requests, state.0.bounds, deadline).await.map_err(|e| match e.at {
        Some(at) => e.refusal.of(at),
        None => e.refusal,
    })?;
    Ok(json(&Answers { answers }))
}

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    query: String,
}

/// Items that [`items`] gives at most.
const FOUND: usize = 20;

async fn items(
    Held(state): Held<State>,
    search: Result<Query<Search>, axum::extract::rejection::QueryRejection>,
) -> Result<Response<Body>, Refusal> {
    let Query(Search { query }) = search.map_err(|e| Refusal(StatusCode::BAD_REQUEST, e.body_text()))?;
    // All items are looked through: not where requests are read.
    let search = move || {
        let served = state.served();
        let found = served.search(&query, FOUND).into_iter();
        let found = found.map(|item| json!({"item": served.id(item), "title": served.title(item)}));
        json!({"items": found.collect::<Vec<_>>()})
    };
    let found = tokio::task::spawn_blocking(search).await;
    let found = found.map_err(|e| Refusal(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    Ok(json(&found))
}

async fn health(Held(state): Held<State>) -> Response<Body> {
    let served = state.served();
    let seconds = state.0.since.elapsed().as_secs();
    let version = env!("CARGO_PKG_VERSION");
    let (status, code) = match served.answers() {
        true => ("ok", StatusCode::OK),
        false => ("failing", StatusCode::SERVICE_UNAVAILABLE),
    };
    let about = json(&json!({
        "status": status,
        "run": served.about,
        "items": served.items(),
        "behaviours": served.behaviours(),
        "seconds": seconds,
        "wgrec": version,
    }));
    (code, about).into_response()
}

async fn metrics(Held(state): Held<State>) -> impl IntoResponse {
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(CONTENT_TYPE, kind)], counts::page(&state.0.registry))
}

async fn openapi(Held(state): Held<State>) -> Response<Body> {
    let Shared { bounds, requests, body, .. } = &*state.0;
    json(&openapi::description(*bounds, *requests, *body))
}
