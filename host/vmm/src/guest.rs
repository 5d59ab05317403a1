//! `ProxiedGuestApi`: calls that the host passes on to a guest's agent.

use std::sync::Arc;

use bylaw_rpc::message::guest_api::{
    GuestInfo, Id, ListContainersResponse, NetworkInformation, SystemInfo,
};
use bylaw_rpc::{Client, ClientError, Context, Empty, Message, RpcError, Service};

use crate::node::Node;

/// The methods.
pub fn service(node: Arc<Node>) -> Service<Node> {
    Service::new("ProxiedGuestApi", &["ProxiedGuestApi"], node)
        .method(
            "Info",
            |node: Arc<Node>, _: Context, Id { id }: Id| async move {
                ask::<GuestInfo>(&node, &id, "Info").await
            },
        )
        .method(
            "SysInfo",
            |node: Arc<Node>, _: Context, Id { id }: Id| async move {
                ask::<SystemInfo>(&node, &id, "SysInfo").await
            },
        )
        .method(
            "NetworkInfo",
            |node: Arc<Node>, _: Context, Id { id }: Id| async move {
                ask::<NetworkInformation>(&node, &id, "NetworkInfo").await
            },
        )
        .method(
            "ListContainers",
            |node: Arc<Node>, _: Context, Id { id }: Id| async move {
                ask::<ListContainersResponse>(&node, &id, "ListContainers").await
            },
        )
        .method(
            "Shutdown",
            |node: Arc<Node>, _: Context, Id { id }: Id| async move {
                ask::<Empty>(&node, &id, "Shutdown").await
            },
        )
}

async fn ask<Answer: Message>(node: &Node, id: &str, method: &str) -> Result<Answer, RpcError> {
    let vm = node.vm(id)?;
    let url = {
        let view = vm.view();
        let launch = view.launch.as_ref().filter(|_| view.is_alive());
        launch.map(|launch| launch.guest_api.clone())
    };
    let url = url.ok_or_else(|| RpcError::new("state", format!("VM is not running: {id}")))?;
    let answer = match Client::new(&url) {
        Ok(client) => client.call(method, &Empty {}).await,
        Err(error) => Err(error),
    };
    answer.map_err(|error| match error {
        ClientError::Refused { message, .. } => RpcError::new("guest", message),
        other => RpcError::new("guest_unreachable", format!("the guest's agent: {other}")),
    })
}
