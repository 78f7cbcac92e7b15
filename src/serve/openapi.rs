//! The description of all addresses for machines, OpenAPI 3.1.

use super::request::{Answer, Answers, Bounds, Refused, Request, Requests};
use crate::settings::schema_of;
use serde_json::{Value, json};

/// With the limits in effect.
pub fn description(bounds: Bounds, requests: usize, body: usize) -> Value {
    let mut request = schema_of::<Request>();
    request["properties"]["k"]["minimum"] = 1.into();
    request["properties"]["k"]["maximum"] = bounds.k.into();
    for list in ["history", "exclude", "behaviours"] {
        request["properties"][list]["maxItems"] = bounds.items.into();
    }
    let mut several = schema_of::<Requests>();
    several["properties"]["requests"] = json!({"type": "array", "items": request, "minItems": 1, "maxItems": requests});
    let refusals = [
        ("400", "The body is no JSON"),
        ("404", "The user is not in the run's data"),
        ("413", "The body is too long"),
        ("422", "A field is missing, unknown or out of its range"),
        ("500", "The device failed"),
        ("503", "The queue is full: ask again in a moment"),
        ("504", "No answer within the time limit"),
    ];
    let content = |schema: Value| json!({"application/json": {"schema": schema}});
    let asks = |what: &str, asked: Value, answer: Value| {
        let mut responses = json!({"200": {"description": "Recommended items", "content": content(answer)}});
        for (status, what) in refusals {
            responses[status] = json!({"description": what, "content": content(schema_of::<Refused>())});
        }
        let about = format!("{what}; a body of at most {body} bytes");
        json!({"post": {
            "summary": about,
            "requestBody": {"required": true, "content": content(asked)},
            "responses": responses,
        }})
    };
    let gives = |what: &str, kind: &str, parameters: Value| {
        let response = json!({"description": what, "content": {kind: {}}});
        json!({"get": {"summary": what, "parameters": parameters, "responses": {"200": response}}})
    };
    let query = json!([{
        "name": "query", "in": "query", "description": "A part of a title or an id", "schema": {"type": "string"},
    }]);
    json!({
        "openapi": "3.1.0",
        "info": {"title": "wgrec", "version": env!("CARGO_PKG_VERSION"), "description": "Recommendations of a trained run"},
        "paths": {
            "/recommend": asks("Recommend items to one person", request, schema_of::<Answer>()),
            "/recommend/batch": asks("Recommend items to several", several, schema_of::<Answers>()),
            "/items": gives("Items by a part of their title or id", "application/json", query),
            "/health": gives("Which run answers", "application/json", json!([])),
            "/metrics": gives("Counts and times for Prometheus", "application/openmetrics-text", json!([])),
            "/openapi.json": gives("This description", "application/json", json!([])),
            "/": gives("A page for people", "text/html", json!([])),
        },
    })
}
