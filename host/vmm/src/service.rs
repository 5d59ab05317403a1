//! Service `Vmm` (VMM API reference, section 2).

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use bylaw_qemu::pci;
use bylaw_rpc::message::vmm::{
    AppId, ComposeHash, GatewaySettings, GetInfoResponse, GetMetaResponse, GpuInfo, Id,
    ImageListResponse, KmsSettings, ListGpusResponse, NetworkingSettings, PullRegistryImageRequest,
    RegistryImageListResponse, ResizeVmRequest, ResourcesSettings, StatusRequest, SvListResponse,
    UpdateVmRequest, VersionResponse, VmConfiguration,
};
use bylaw_rpc::{Context, Empty, RpcError, Service};

use crate::images::Image;
use crate::kms;
use crate::launch::is_offered;
use crate::node::{Node, NodeError};
use crate::validate;

impl From<NodeError> for RpcError {
    fn from(error: NodeError) -> Self {
        let code = match error {
            NodeError::NotFound(_) => "not_found",
            NodeError::Invalid(_) => "bad_request",
            NodeError::Record(_) | NodeError::Io { .. } => "internal",
            NodeError::Registry(_) => "registry",
            NodeError::Launch(_) | NodeError::Qemu(_) | NodeError::Ended(_) => "launch",
            NodeError::Exhausted(_) => "exhausted",
            NodeError::State(_) => "state",
        };
        Self::new(code, error)
    }
}

/// What is begun is finished, also when the caller goes away.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, NodeError>> + Send + 'static,
) -> Result<T, RpcError> {
    match tokio::spawn(work).await {
        Ok(result) => result.map_err(RpcError::from),
        Err(error) => Err(RpcError::new("internal", error)),
    }
}

/// The methods.
pub fn service(node: Arc<Node>) -> Service<Node> {
    let service = Service::new("Vmm", &["Teepod", "Vmm"], node);
    let service = lifecycle(service);
    let service = changes(service);
    let service = images(service);
    about(service)
}

fn lifecycle(service: Service<Node>) -> Service<Node> {
    service
        .method(
            "CreateVm",
            |node: Arc<Node>, _: Context, request: VmConfiguration| async move {
                let id = detached(async move { node.create(request).await }).await?;
                Ok(Id { id })
            },
        )
        .method(
            "StartVm",
            |node: Arc<Node>, _: Context, Id { id }: Id| async move {
                detached(async move { node.start(&id).await }).await?;
                Ok(Empty {})
            },
        )
        .method(
            "StopVm",
            |node: Arc<Node>, _: Context, Id { id }: Id| async move {
                detached(async move { node.stop(&id).await }).await?;
                Ok(Empty {})
            },
        )
        .method(
            "ShutdownVm",
            |node: Arc<Node>, _: Context, Id { id }: Id| async move {
                detached(async move { node.shut_down(&id).await }).await?;
                Ok(Empty {})
            },
        )
        .method(
            "RemoveVm",
            |node: Arc<Node>, _: Context, Id { id }: Id| async move {
                detached(async move { node.remove(&id).await }).await?;
                Ok(Empty {})
            },
        )
        .method(
            "SvList",
            |node: Arc<Node>, _: Context, _: Empty| async move {
                let processes = node.vms().iter().filter_map(|vm| vm.supervised()).collect();
                Ok(SvListResponse { processes })
            },
        )
        .method(
            "SvStop",
            |node: Arc<Node>, _: Context, Id { id }: Id| async move {
                detached(async move { node.stop(&id).await }).await?;
                Ok(Empty {})
            },
        )
        .method(
            "SvRemove",
            |node: Arc<Node>, _: Context, Id { id }: Id| async move {
                detached(async move { node.forget_launch(&id).await }).await?;
                Ok(Empty {})
            },
        )
}

fn changes(service: Service<Node>) -> Service<Node> {
    let update = |node: Arc<Node>, _: Context, request: UpdateVmRequest| async move {
        let id = detached(async move { node.update(request).await }).await?;
        Ok(Id { id })
    };
    service
        .method("UpdateVm", update)
        .method("UpgradeApp", update)
        .method(
            "ResizeVm",
            |node: Arc<Node>, _: Context, request: ResizeVmRequest| async move {
                detached(async move { node.resize(request).await }).await?;
                Ok(Empty {})
            },
        )
        .method(
            "ReloadVms",
            |node: Arc<Node>, _: Context, _: Empty| async move {
                detached(async move { node.reload().await }).await
            },
        )
        .method(
            "GetComposeHash",
            |_: Arc<Node>, _: Context, request: VmConfiguration| async move {
                let compose = validate::compose(&request.name, &request.compose_file)
                    .map_err(NodeError::from)?;
                Ok(ComposeHash {
                    hash: compose.hash().to_string(),
                })
            },
        )
}

fn images(service: Service<Node>) -> Service<Node> {
    service
        .method(
            "ListImages",
            |node: Arc<Node>, _: Context, _: Empty| async move {
                let images = Image::list(&node.config.image_path);
                let images = images.iter().map(Image::info).collect();
                Ok(ImageListResponse { images })
            },
        )
        .method(
            "ListRegistryImages",
            |node: Arc<Node>, _: Context, _: Empty| async move {
                let images = node.registry()?.list().await.map_err(NodeError::from)?;
                Ok(RegistryImageListResponse { images })
            },
        )
        .method(
            "PullRegistryImage",
            |node: Arc<Node>, _: Context, request: PullRegistryImageRequest| async move {
                node.registry()?
                    .pull(&request.tag)
                    .map_err(NodeError::from)?;
                Ok(Empty {})
            },
        )
        .method(
            "DeleteImage",
            |node: Arc<Node>, _: Context, Id { id }: Id| async move {
                detached(async move { node.delete_image(&id).await }).await?;
                Ok(Empty {})
            },
        )
}

fn about(service: Service<Node>) -> Service<Node> {
    service
        .method(
            "Status",
            |node: Arc<Node>, _: Context, request: StatusRequest| async move {
                Ok(node.status(&request)?)
            },
        )
        .method(
            "GetInfo",
            |node: Arc<Node>, _: Context, Id { id }: Id| async move { info(&node, &id) },
        )
        .method(
            "GetMeta",
            |node: Arc<Node>, _: Context, _: Empty| async move { Ok(meta(&node)) },
        )
        .method("Version", |_: Arc<Node>, _: Context, _: Empty| async move {
            Ok(VersionResponse {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                rev: option_env!("BYLAW_REVISION").unwrap_or_default().to_owned(),
            })
        })
        .method(
            "ListGpus",
            |node: Arc<Node>, _: Context, _: Empty| async move { gpus(&node) },
        )
        .method(
            "GetAppEnvEncryptPubKey",
            |node: Arc<Node>, _: Context, request: AppId| async move {
                kms::env_encrypt_key(node.config.kms_url.as_deref(), &request).await
            },
        )
}

fn info(node: &Node, id: &str) -> Result<GetInfoResponse, RpcError> {
    let Ok(vm) = node.vm(id) else {
        return Ok(GetInfoResponse::default());
    };
    let info = vm
        .info(&node.config, node.now_ms(), false)
        .map_err(NodeError::from)?;
    Ok(GetInfoResponse {
        found: true,
        info: Some(info),
    })
}

fn meta(node: &Node) -> GetMetaResponse {
    let cvm = &node.config.cvm;
    let gateway = &node.config.gateway;
    let first = |urls: &[String]| urls.first().cloned().unwrap_or_default();
    let mut supported_modes = vec!["user".to_owned()];
    if cvm.networking.mode == crate::config::NetMode::Bridge || !cvm.networking.bridge.is_empty() {
        supported_modes.push("bridge".to_owned());
    }
    GetMetaResponse {
        kms: Some(KmsSettings {
            url: first(&cvm.kms_urls),
            urls: cvm.kms_urls.clone(),
        }),
        gateway: Some(GatewaySettings {
            url: first(&cvm.gateway_urls),
            base_domain: gateway.base_domain.clone(),
            port: gateway.port.into(),
            agent_port: gateway.agent_port.into(),
            urls: cvm.gateway_urls.clone(),
        }),
        resources: Some(ResourcesSettings {
            max_cvm_number: cvm.cid_pool_size,
            max_allocable_vcpu: cvm.max_vcpu,
            max_allocable_memory_in_mb: cvm.max_memory_mib,
        }),
        networking: Some(NetworkingSettings {
            supported_modes,
            default_mode: cvm.networking.mode.to_string(),
            default_bridge: cvm.networking.bridge.clone(),
        }),
    }
}

fn gpus(node: &Node) -> Result<ListGpusResponse, RpcError> {
    let Some(rules) = &node.config.cvm.gpu else {
        return Ok(ListGpusResponse::default());
    };
    let devices = pci::devices(Path::new("/")).map_err(NodeError::from)?;
    let used: Vec<String> = node
        .vms()
        .iter()
        .filter_map(|vm| {
            let view = vm.view();
            let launch = view.launch.as_ref().filter(|_| view.is_alive());
            launch.map(|launch| launch.gpus.clone())
        })
        .flatten()
        .collect();
    let offered = devices.iter().filter(|device| is_offered(rules, device));
    let describe = |device: &pci::Device| GpuInfo {
        slot: device.address.to_string(),
        product_id: device.product_id.clone(),
        description: device.description.clone(),
        is_free: !used.contains(&device.address.to_string()),
    };
    Ok(ListGpusResponse {
        gpus: offered.map(describe).collect(),
        allow_attach_all: rules.allow_attach_all,
    })
}
