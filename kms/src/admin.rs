//! Service `Admin`, behind a token.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bylaw_rpc::message::kms::{ClearImageCacheRequest, ListReleasesRequest, ListReleasesResponse};
use bylaw_rpc::{Context, Empty, RpcError, Service};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::kms::Kms;

const MAX_RECORDS: u32 = 1000;
const DEFAULT_RECORDS: u32 = 100;

/// What the admin listener works on.
#[derive(Debug)]
pub struct Admin {
    /// The running KMS.
    pub kms: Arc<Kms>,
    /// Directory with `images` and `measurements`.
    pub cache_dir: PathBuf,
}

/// Digest of the token; the token itself is not kept.
#[derive(Clone)]
struct Token([u8; 32]);

impl Token {
    fn matches(&self, candidate: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(candidate).into();
        digest.ct_eq(&self.0).into()
    }
}

/// Routes of the admin listener; every one needs `token`.
pub fn router(admin: Arc<Admin>, token: &str) -> Router {
    let token = Token(Sha256::digest(token).into());
    Service::new("Admin", &["Admin"], admin)
        .method(
            "ClearImageCache",
            |admin: Arc<Admin>, _: Context, request: ClearImageCacheRequest| async move {
                admin.clear("images", &request.image_hash)?;
                admin.clear("measurements", &request.config_hash)?;
                Ok(Empty {})
            },
        )
        .method(
            "ListReleases",
            |admin: Arc<Admin>, _: Context, request: ListReleasesRequest| async move {
                admin.list(&request)
            },
        )
        .into_router("/prpc")
        .layer(from_fn_with_state(token, authenticate))
}

impl Admin {
    fn clear(&self, kind: &str, key: &str) -> Result<(), RpcError> {
        let directory = self.cache_dir.join(kind);
        let path = match key {
            "" => return Ok(()),
            "all" => directory,
            hex if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => directory.join(hex),
            _ => return Err(RpcError::bad_request("invalid cache key")),
        };
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(RpcError::new(
                "cache",
                format!("{}: {error}", path.display()),
            )),
            _ => Ok(()),
        }
    }

    fn list(&self, request: &ListReleasesRequest) -> Result<ListReleasesResponse, RpcError> {
        let failed = |error: &dyn std::fmt::Display| RpcError::new("log", error);
        let limit = if request.limit == 0 {
            DEFAULT_RECORDS
        } else {
            request.limit
        };
        let limit = limit.min(MAX_RECORDS) as usize;
        let total = self.kms.log.verify().map_err(|error| failed(&error))?;
        let records = self
            .kms
            .log
            .read(request.from, limit)
            .map_err(|error| failed(&error))?;
        let records = records
            .iter()
            .map(serde_json::to_string)
            .collect::<Result<_, _>>()
            .map_err(|error| failed(&error))?;
        Ok(ListReleasesResponse { records, total })
    }
}

async fn authenticate(State(token): State<Token>, request: Request, next: Next) -> Response {
    if is_authorized(request.headers(), &token) {
        return next.run(request).await;
    }
    let realm = HeaderValue::from_static("Basic realm=\"dstack-kms admin\"");
    (
        StatusCode::UNAUTHORIZED,
        [(header::WWW_AUTHENTICATE, realm)],
    )
        .into_response()
}

/// `X-Admin-Token`, `Bearer`, or `Basic` with the token as password (or as user
/// without a password).
fn is_authorized(headers: &HeaderMap, token: &Token) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("x-admin-token").is_some_and(|given| token.matches(given)) {
        return true;
    }
    let Some(authorization) = text("authorization") else {
        return false;
    };
    if let Some(given) = authorization.strip_prefix("Bearer ") {
        return token.matches(given);
    }
    authorization
        .strip_prefix("Basic ")
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .is_some_and(|pair| match pair.split_once(':') {
            Some((user, "")) => token.matches(user),
            Some((_, password)) => token.matches(password),
            None => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        is_authorized(&headers, &Token(Sha256::digest("secret").into()))
    }

    #[test]
    fn each_form_of_the_token_is_accepted_and_no_other() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        assert!(check("x-admin-token", "secret"));
        assert!(check("authorization", "Bearer secret"));
        assert!(check("authorization", &basic("anyone:secret")));
        assert!(check("authorization", &basic("secret:")));
        for (name, value) in [
            ("x-admin-token", "other".to_owned()),
            ("authorization", "Bearer other".to_owned()),
            ("authorization", "secret".to_owned()),
            ("authorization", basic("secret:other")),
            ("authorization", basic("secret")),
            ("authorization", "Basic %%%".to_owned()),
        ] {
            assert!(!check(name, &value), "{name}: {value}");
        }
        assert!(!is_authorized(&HeaderMap::new(), &Token([0; 32])));
    }
}
