//! Who may use the listener (RPC conventions reference, section 9).
//!
//! Credentials in this order; the first header that is there and well-formed decides:
//! `X-Admin-Token` (a wrong one falls through), `Authorization: Bearer`, then `Basic`.
//! A `GET` may carry `?token=` instead, which is taken out of the address before anything
//! else sees or logs it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config;

/// A file of users that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// It cannot be read.
    #[error("auth.htpasswd_file {}: {source}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that is no user.
    #[error("auth.htpasswd_file {}, line {line}: must be <user>:<bcrypt hash of $2a$, $2b$ or $2y$>; make one with htpasswd -B", path.display())]
    Line {
        /// File.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// Nobody in it.
    #[error("auth.htpasswd_file {} has no users; add one with htpasswd -B", path.display())]
    Empty {
        /// File.
        path: PathBuf,
    },
}

/// What lets a caller in.
#[derive(Clone)]
pub struct Credentials {
    /// Digests: the tokens themselves are not kept.
    tokens: Vec<[u8; 32]>,
    /// Name and bcrypt hash.
    users: Vec<(String, String)>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn load(auth: &config::Auth) -> Result<Self, AuthError> {
        let tokens = auth.tokens.iter();
        Ok(Self {
            tokens: tokens.map(|token| Sha256::digest(token).into()).collect(),
            users: match &auth.htpasswd_file {
                None => vec![],
                Some(path) => users(path)?,
            },
        })
    }

    /// Every token is compared, each in constant time.
    fn has_token(&self, given: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(given).into();
        let matches = self.tokens.iter().map(|token| token.ct_eq(&digest));
        matches
            .fold(subtle::Choice::from(0), |any, one| any | one)
            .into()
    }

    /// As slow for users that do not exist as for those that do.
    async fn has_user(&self, name: &str, password: &str) -> bool {
        let found = self.users.iter().find(|(user, _)| user == name);
        let Some((_, hash)) = found.or(self.users.first()) else {
            return false;
        };
        let (hash, password) = (hash.clone(), password.to_owned());
        let verified =
            tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false));
        verified.await.unwrap_or(false) && found.is_some()
    }

    async fn allow(&self, headers: &HeaderMap) -> Verdict {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if text("x-admin-token").is_some_and(|given| self.has_token(given)) {
            return Verdict::Allow;
        }
        let authorization = text(AUTHORIZATION.as_str());
        if let Some(given) = authorization.and_then(|value| value.strip_prefix("Bearer ")) {
            return Verdict::from(self.has_token(given));
        }
        let Some((user, password)) = authorization.and_then(basic) else {
            return Verdict::Unsaid;
        };
        let token = if password.is_empty() {
            &user
        } else {
            &password
        };
        Verdict::from(self.has_token(token) || self.has_user(&user, &password).await)
    }
}

/// What the headers say about a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    Refuse,
    Unsaid,
}

impl From<bool> for Verdict {
    fn from(allowed: bool) -> Self {
        if allowed { Self::Allow } else { Self::Refuse }
    }
}

fn basic(authorization: &str) -> Option<(String, String)> {
    let bytes = STANDARD
        .decode(authorization.strip_prefix("Basic ")?)
        .ok()?;
    let pair = String::from_utf8(bytes).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn users(path: &Path) -> Result<Vec<(String, String)>, AuthError> {
    let text = std::fs::read_to_string(path).map_err(|source| AuthError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut users = Vec::new();
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let user = line.split_once(':').filter(|(name, hash)| {
            let known = ["$2a$", "$2b$", "$2y$"];
            !name.is_empty() && known.iter().any(|prefix| hash.starts_with(prefix))
        });
        let (name, hash) = user.ok_or_else(|| AuthError::Line {
            path: path.to_owned(),
            line: index + 1,
        })?;
        users.push((name.to_owned(), hash.to_owned()));
    }
    if users.is_empty() {
        return Err(AuthError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(users)
}

/// The layer around every route.
pub async fn authenticate(
    State(credentials): State<Arc<Credentials>>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut verdict = credentials.allow(request.headers()).await;
    if request.method() == Method::GET
        && let Some((token, rest)) = take_token(request.uri())
    {
        *request.uri_mut() = rest;
        if verdict == Verdict::Unsaid {
            verdict = Verdict::from(credentials.has_token(&token));
        }
    }
    if verdict == Verdict::Allow {
        return next.run(request).await;
    }
    // A client that is still writing would lose the answer.
    let _ = bylaw_rpc::not_found(request).await;
    let realm = HeaderValue::from_static("Basic realm=\"dstack-vmm API\"");
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, realm)]).into_response()
}

/// The first `token` of the query, and the address without any.
fn take_token(uri: &Uri) -> Option<(String, Uri)> {
    let query = uri.query()?;
    let name = |pair: &str| pair.split('=').next() == Some("token");
    let token = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "token")?;
    let rest: Vec<&str> = query.split('&').filter(|pair| !name(pair)).collect();
    let path = if rest.is_empty() {
        uri.path().to_owned()
    } else {
        format!("{}?{}", uri.path(), rest.join("&"))
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Some((token.1.into_owned(), Uri::from_parts(parts).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        let hash = bcrypt::hash("pass", 4).unwrap();
        let text = format!("# people\n\nanna:{hash}\n");
        bylaw_types::file::write_atomic(&file, text.as_bytes()).unwrap();
        Credentials::load(&config::Auth {
            tokens: vec!["secret".into(), "other secret".into()],
            htpasswd_file: Some(file),
        })
        .unwrap()
    }

    async fn check(headers: &[(&'static str, &str)]) -> Verdict {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        credentials().allow(&map).await
    }

    #[tokio::test]
    async fn each_form_lets_in_and_no_other() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (name, value) in [
            ("x-admin-token", "secret".to_owned()),
            ("x-admin-token", "other secret".to_owned()),
            ("authorization", "Bearer secret".to_owned()),
            ("authorization", basic("anyone:secret")),
            ("authorization", basic("secret:")),
            ("authorization", basic("anna:pass")),
        ] {
            assert_eq!(check(&[(name, &value)]).await, Verdict::Allow, "{value}");
        }
        for value in [
            "Bearer other".to_owned(),
            basic("anna:wrong"),
            basic("bert:pass"),
            basic("secret:other"),
            basic("anna:"),
        ] {
            let verdict = check(&[("authorization", &value)]).await;
            assert_eq!(verdict, Verdict::Refuse, "{value}");
        }
        for value in ["secret", "Basic %%%", "Digest x"] {
            assert_eq!(check(&[("authorization", value)]).await, Verdict::Unsaid);
        }
        assert_eq!(check(&[("x-admin-token", "x")]).await, Verdict::Unsaid);
        let both = [("x-admin-token", "x"), ("authorization", "Bearer secret")];
        assert_eq!(check(&both).await, Verdict::Allow);
    }

    #[test]
    fn the_token_leaves_the_address() {
        let (token, rest) = take_token(&"/logs?id=1&token=a%20b&lines=2".parse().unwrap()).unwrap();
        assert_eq!(
            (token.as_str(), rest.to_string()),
            ("a b", "/logs?id=1&lines=2".into())
        );
        let (_, rest) = take_token(&"/?token=x&token=y".parse().unwrap()).unwrap();
        assert_eq!(rest.to_string(), "/");
        assert!(take_token(&"/?tokens=x".parse().unwrap()).is_none());
    }

    #[test]
    fn files_without_users_and_with_other_hashes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        let hash = bcrypt::hash("pass", 4).unwrap();
        for (text, why) in [
            ("# nobody\n".to_owned(), "no users"),
            (format!("anna:{hash}\nbert:$apr1$x"), "line 2"),
            (format!(":{hash}"), "line 1"),
            ("anna".to_owned(), "line 1"),
        ] {
            bylaw_types::file::write_atomic(&file, text.as_bytes()).unwrap();
            let error = users(&file).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(users(&dir.path().join("none")).is_err());
    }
}
