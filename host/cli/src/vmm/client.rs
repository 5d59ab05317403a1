//! The calls of the VMM (VMM API reference, section 2), typed.

use std::ops::ControlFlow;

use bylaw_rpc::message::Message;
use bylaw_rpc::message::kms::PublicKeyResponse;
use bylaw_rpc::message::vmm::{
    AppId, GetInfoResponse, GetMetaResponse, Id, ImageListResponse, ListGpusResponse,
    ResizeVmRequest, StatusRequest, StatusResponse, UpdateVmRequest, VmConfiguration, VmInfo,
};
use bylaw_rpc::{Client, ClientError, Empty};

use crate::kms::unreachable;
use crate::output::Failure;

/// One VMM.
#[derive(Debug, Clone)]
pub(crate) struct Vmm {
    rpc: Client,
    pages: Client,
}

impl Vmm {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            rpc: client.clone().prpc(),
            pages: client,
        }
    }

    /// As it was given.
    pub(crate) fn url(&self) -> &str {
        self.pages.url()
    }

    async fn call<Req: Message, Res: Message>(
        &self,
        method: &str,
        request: &Req,
    ) -> Result<Res, Failure> {
        let answer = self.rpc.call(method, request).await;
        answer.map_err(|error| refused(error, self.url()))
    }

    /// Every VM, oldest first.
    pub(crate) async fn vms(&self) -> Result<StatusResponse, Failure> {
        self.call("Status", &StatusRequest::default()).await
    }

    /// One VM; `None` when there is none of this id.
    pub(crate) async fn vm(&self, id: &str) -> Result<Option<VmInfo>, Failure> {
        let answer: GetInfoResponse = self.call("GetInfo", &by_id(id)).await?;
        Ok(answer.info.filter(|_| answer.found))
    }

    /// Its id.
    pub(crate) async fn create(&self, vm: &VmConfiguration) -> Result<String, Failure> {
        let answer: Id = self.call("CreateVm", vm).await?;
        Ok(answer.id)
    }

    pub(crate) async fn update(&self, request: &UpdateVmRequest) -> Result<(), Failure> {
        let _: Id = self.call("UpgradeApp", request).await?;
        Ok(())
    }

    pub(crate) async fn start(&self, id: &str) -> Result<(), Failure> {
        self.nothing("StartVm", &by_id(id)).await
    }

    /// Kills it.
    pub(crate) async fn kill(&self, id: &str) -> Result<(), Failure> {
        self.nothing("StopVm", &by_id(id)).await
    }

    /// Asks the guest to end.
    pub(crate) async fn shut_down(&self, id: &str) -> Result<(), Failure> {
        self.nothing("ShutdownVm", &by_id(id)).await
    }

    pub(crate) async fn remove(&self, id: &str) -> Result<(), Failure> {
        self.nothing("RemoveVm", &by_id(id)).await
    }

    pub(crate) async fn resize(&self, request: &ResizeVmRequest) -> Result<(), Failure> {
        self.nothing("ResizeVm", request).await
    }

    pub(crate) async fn images(&self) -> Result<ImageListResponse, Failure> {
        self.call("ListImages", &Empty {}).await
    }

    pub(crate) async fn gpus(&self) -> Result<ListGpusResponse, Failure> {
        self.call("ListGpus", &Empty {}).await
    }

    pub(crate) async fn meta(&self) -> Result<GetMetaResponse, Failure> {
        self.call("GetMeta", &Empty {}).await
    }

    /// The key of an app's environment, as the node's KMS says; to be verified.
    pub(crate) async fn env_key(&self, app_id: &[u8]) -> Result<PublicKeyResponse, Failure> {
        let request = AppId {
            app_id: app_id.to_vec(),
        };
        self.call("GetAppEnvEncryptPubKey", &request).await
    }

    /// A VM's log, piece by piece.
    pub(crate) async fn log(
        &self,
        id: &str,
        channel: &str,
        lines: u32,
        follow: bool,
        each: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let path = format!("/logs?id={id}&follow={follow}&ansi=false&lines={lines}&ch={channel}");
        let mut connection = self
            .pages
            .connect()
            .await
            .map_err(|error| refused(error, self.url()))?;
        let streamed = connection.stream(&path, each).await;
        streamed.map_err(|error| refused(error, self.url()))
    }

    async fn nothing<Req: Message>(&self, method: &str, request: &Req) -> Result<(), Failure> {
        let _: Empty = self.call(method, request).await?;
        Ok(())
    }
}

fn by_id(id: &str) -> Id {
    Id { id: id.to_owned() }
}

fn refused(error: ClientError, url: &str) -> Failure {
    match error {
        ClientError::Refused { code, .. } if code == "unauthorized" => Failure::Failed(
            anyhow::anyhow!("{url} wants a token; give it with --token-file or BYLAW_TOKEN"),
        ),
        ClientError::Refused { message, .. } => {
            Failure::Failed(anyhow::anyhow!("the VMM refuses: {message}"))
        }
        other => unreachable(other),
    }
}
