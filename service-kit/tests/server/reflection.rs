//! Reflection, in both versions that clients ask for.

use service_kit::clock::Clock;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::{v1, v1alpha};

use crate::harness::{Client, Port, soon};
use crate::probe;

const LISTED: [&str; 4] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    probe::NAME,
];

pub(crate) async fn list(client: &Client, metadata: MetadataMap) -> Result<(), tonic::Status> {
    let mut questions = Request::new(tokio_stream::once(list_v1()));
    *questions.metadata_mut() = metadata;
    let mut grpc = tonic::client::Grpc::new(client.channel.clone());
    grpc.ready().await.unwrap();
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let codec = ProstCodec::<v1::ServerReflectionRequest, v1::ServerReflectionResponse>::default();
    let answers = soon(grpc.streaming(questions, path.parse().unwrap(), codec)).await?;
    soon(answers.into_inner().message()).await.map(|_| ())
}

async fn ask<A, B>(client: &Client, version: &str, question: A) -> Result<B, tonic::Status>
where
    A: prost::Message + Send + Sync + 'static,
    B: prost::Message + Default + Send + Sync + 'static,
{
    let mut grpc = tonic::client::Grpc::new(client.channel.clone());
    grpc.ready().await.unwrap();
    let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
    let questions = Request::new(tokio_stream::once(question));
    let codec = ProstCodec::<A, B>::default();
    let answers = soon(grpc.streaming(questions, path.parse().unwrap(), codec)).await?;
    Ok(soon(answers.into_inner().message()).await?.unwrap())
}

fn list_v1() -> v1::ServerReflectionRequest {
    v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    }
}

#[tokio::test]
async fn v1_lists_exactly_what_is_served_even_before_the_service_is_open() {
    let port = Port::starting(Clock::system(), |_| {}).await;
    let client = port.client().await;
    let answer: v1::ServerReflectionResponse = ask(&client, "v1", list_v1()).await.unwrap();
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answer.message_response
    else {
        panic!("{answer:?}");
    };
    let mut names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    names.sort();
    assert_eq!(names, LISTED);
}

#[tokio::test]
async fn v1alpha_lists_the_same_and_describes_symbols() {
    use v1alpha::server_reflection_request::MessageRequest::{FileContainingSymbol, ListServices};
    use v1alpha::server_reflection_response::MessageResponse;
    let port = Port::open().await;
    let client = port.client().await;
    let question = |message_request| v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let answer: v1alpha::ServerReflectionResponse =
        ask(&client, "v1alpha", question(ListServices(String::new())))
            .await
            .unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    assert_eq!(list.service.len(), LISTED.len());
    for name in LISTED {
        let symbol = question(FileContainingSymbol(name.to_owned()));
        let answer: v1alpha::ServerReflectionResponse =
            ask(&client, "v1alpha", symbol).await.unwrap();
        assert!(
            matches!(
                answer.message_response,
                Some(MessageResponse::FileDescriptorResponse(_))
            ),
            "{name}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn what_errors_carry_is_described_so_that_callers_can_show_it() {
    use v1::server_reflection_request::MessageRequest::FileContainingSymbol;
    use v1::server_reflection_response::MessageResponse;
    let port = Port::open().await;
    let client = port.client().await;
    for detail in ["ErrorInfo", "BadRequest", "RetryInfo", "QuotaFailure"] {
        let question = v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(FileContainingSymbol(format!("google.rpc.{detail}"))),
        };
        let answer: v1::ServerReflectionResponse = ask(&client, "v1", question).await.unwrap();
        assert!(
            matches!(
                answer.message_response,
                Some(MessageResponse::FileDescriptorResponse(_))
            ),
            "{detail}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn reflection_can_be_turned_off() {
    let port = Port::opened(Clock::system(), |options| options.reflection = false).await;
    let client = port.client().await;
    let answer = ask::<_, v1::ServerReflectionResponse>(&client, "v1", list_v1()).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}
