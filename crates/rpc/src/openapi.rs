//! OpenAPI 3.1 from the method table.
//!
//! Schemas come from the messages' own JSON form: the default of every message
//! names each field and its JSON type.

use serde_json::{Map, Value, json};

use crate::message::Message;

/// One method.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    method: &'static str,
    id: String,
    request: Option<(&'static str, Value)>,
    response: (&'static str, Value),
}

impl Operation {
    pub(crate) fn new<Req: Message, Res: Message>(service: &str, method: &'static str) -> Self {
        Self {
            method,
            id: format!("{service}_{method}"),
            request: (!Req::IS_EMPTY).then(|| (Req::NAME, schema::<Req>())),
            response: (Res::NAME, schema::<Res>()),
        }
    }
}

fn schema<M: Message>() -> Value {
    // Messages of plain fields always serialise.
    schema_of(&serde_json::to_value(M::default()).unwrap_or_default())
}

fn schema_of(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let properties: Map<_, _> = fields
                .iter()
                .map(|(name, value)| (name.clone(), schema_of(value)))
                .collect();
            json!({ "type": "object", "properties": properties })
        }
        Value::String(_) => json!({ "type": "string" }),
        Value::Number(_) => json!({ "type": "integer" }),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Array(_) => json!({ "type": "array" }),
        // Optional fields, and `Empty`.
        Value::Null => json!({}),
    }
}

pub(crate) fn document(service: &str, mount: &str, operations: &[Operation]) -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    let error = json!({ "type": "object", "properties": {
        "error": { "type": "string" }, "code": { "type": "string" } } });
    schemas.insert("RpcError".to_owned(), error);
    let reference = |name: &str| {
        let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        json!({ "application/json": { "schema": schema } })
    };
    for operation in operations {
        let (name, schema) = &operation.response;
        schemas.insert((*name).to_owned(), schema.clone());
        let mut post = json!({
            "operationId": operation.id,
            "tags": [service],
            "responses": {
                "200": { "description": "answer", "content": reference(name) },
                "400": { "description": "refused", "content": reference("RpcError") },
            },
        });
        if let Some((name, schema)) = &operation.request {
            schemas.insert((*name).to_owned(), schema.clone());
            post["requestBody"] = json!({ "content": reference(name) });
        }
        paths.insert(
            format!("{mount}/{}", operation.method),
            json!({ "post": post }),
        );
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": service, "version": env!("CARGO_PKG_VERSION") },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "schemas": schemas },
    })
}
