//! Calls any method by its name, as a client without stubs does.

use std::time::Duration;

use stablequeue_proto::jobs::v1::WaitJobRequest;
use system_tests::callers::CallerChannel;
use tonic::{Request, Status, client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_prost::ProstCodec;

/// Bounds the waiting for the first message.
const BOUND: Duration = Duration::from_secs(60);

/// Calls a method and answers how it began to answer: a stream counts as
/// answered with its first message, and its end is not awaited. What a message
/// says is not read.
///
/// Every request about a job names it in the field 1, as WaitJob's does; for
/// any other method the message is empty.
pub(crate) async fn call(
    channel: &CallerChannel,
    method: &str,
    request: WaitJobRequest,
) -> Result<(), Status> {
    let path = PathAndQuery::try_from(format!("/{method}")).expect("a path");
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready()
        .await
        .map_err(|error| Status::unknown(error.to_string()))?;
    let codec = ProstCodec::<WaitJobRequest, ()>::default();
    let request = Request::new(tokio_stream::once(request));
    let answered = async {
        // On the wire, a call with one message is the same however many each
        // side may send.
        let mut answer = grpc.streaming(request, path, codec).await?.into_inner();
        answer.message().await.map(|_| ())
    };
    let answered = tokio::time::timeout(BOUND, answered).await;
    answered.expect("an answer")
}
