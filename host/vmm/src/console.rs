//! The console and the page of the API, all of it in this binary.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
};
use maud::{DOCTYPE, html};
use serde_json::Value;

use crate::node::Node;

include!(concat!(env!("OUT_DIR"), "/console.rs"));

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'";
const HTML: &str = "text/html; charset=utf-8";

/// The pages.
pub fn pages(node: Arc<Node>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/v1", get(index))
        .route("/beta", get(index))
        .with_state(node)
}

/// Scripts and styles: no secret is in them, and browsers send no token for them.
pub fn resources() -> Router {
    Router::new().route("/res/{name}", get(resource))
}

async fn index(State(node): State<Arc<Node>>) -> Response {
    let Some(page) = file("index.html") else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let name = html! { (node.config.node_name) }.into_string();
    answer(HTML, page.replace("{{node_name}}", &name))
}

async fn resource(Path(name): Path<String>) -> Response {
    let kind = match name.rsplit_once('.') {
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    match file(&name) {
        Some(text) => answer(kind, text.to_owned()),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn file(name: &str) -> Option<&'static str> {
    let found = FILES.iter().find(|(file, _)| *file == name);
    found.map(|(_, text)| *text)
}

/// A page of every method, from the OpenAPI document.
pub fn methods(document: &Value) -> Response {
    let paths = document.get("paths").and_then(Value::as_object);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "VMM API" }
                link rel="stylesheet" href="/res/style.css";
            }
            body {
                main {
                    h1 { "VMM API" }
                    p {
                        "POST with JSON; errors are status 400 with " code { "error" } " and "
                        code { "code" } ". " a href="/api-docs/openapi.json" { "OpenAPI document" }
                    }
                    @for (path, operation) in paths.into_iter().flatten() {
                        h2 { code { "POST " (path) } }
                        @for (what, schema) in schemas(document, operation) {
                            p { (what) ": " code { (schema) } }
                        }
                    }
                }
            }
        }
    };
    answer(HTML, page.into_string())
}

/// Request and answer of an operation, with their fields.
fn schemas(document: &Value, operation: &Value) -> Vec<(&'static str, String)> {
    let describe = |reference: &Value| {
        let name = reference.as_str()?.rsplit('/').next()?;
        let fields = document
            .pointer(&format!("/components/schemas/{name}/properties"))
            .and_then(Value::as_object)
            .map(|fields| fields.keys().cloned().collect::<Vec<_>>().join(", "));
        Some(format!("{name} {{ {} }}", fields.unwrap_or_default()))
    };
    let content = "content/application~1json/schema/$ref";
    [
        ("request", format!("/post/requestBody/{content}")),
        ("answer", format!("/post/responses/200/{content}")),
    ]
    .into_iter()
    .filter_map(|(what, pointer)| Some((what, describe(operation.pointer(&pointer)?)?)))
    .collect()
}

fn answer(kind: &'static str, text: String) -> Response {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("content-security-policy"), POLICY),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_scripts_and_styles_are_resources() {
        let status = |name: &'static str| async move {
            resource(Path(name.to_owned())).await.status().as_u16()
        };
        assert_eq!(status("app.js").await, 200);
        assert_eq!(status("style.css").await, 200);
        for name in ["index.html", "README.md", "none.js", "../vmm.toml", ""] {
            assert_eq!(status(name).await, 404, "{name}");
        }
        let headers = resource(Path("app.js".into())).await.headers().clone();
        assert!(
            headers["content-security-policy"]
                .to_str()
                .unwrap()
                .contains("'none'")
        );
    }
}
