//! What each answer leads to, and what no answer leads to: over real connections to a server that answers as the test wants.

#[path = "support/client.rs"]
mod client;
#[path = "support/server.rs"]
mod server;

use authpulse_aws::{DynamoDbCommitterLock, Encryption, GlueCatalog, S3Location, S3Store};
use authpulse_lake::catalog::{CatalogError, SwapOutcome};
use authpulse_lake::journal::JournalError;
use authpulse_lake::{
    CommitterLock, Journal, ObjectJournal, ObjectStore, PutOutcome, StoreError, Table, TablePointers,
};
use bytes::Bytes;
use client::aws;
use server::{Reply, Request, Server};
use std::sync::Arc;

const ID: &str = "x-amz-meta-authpulse-put";

async fn store(server: &Server) -> S3Store {
    S3Store::new(&aws(&server.endpoint).await, S3Location::parse("s3://bucket/lake").unwrap(), Encryption::Kms(None))
}

async fn put(server: &Server) -> Result<(), StoreError> {
    store(server).await.put_new("a/b", Bytes::from_static(b"x")).await
}

/// The last request.
fn last(all: &[Request]) -> &Request {
    all.last().expect("there is one")
}

/// The id of the put in the first PUT.
fn first_put(all: &[Request]) -> String {
    all.iter().find(|r| r.method == "PUT").map(|r| r.header(ID).to_owned()).unwrap_or_default()
}

fn standing(put: String) -> Reply {
    Reply::Say(200, vec![(ID, put)], String::new())
}

#[tokio::test]
async fn a_put_is_conditional_encrypted_and_asked_for_once() {
    let server = Server::start(|_| Reply::ok());
    put(&server).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    let asked = &requests[0];
    assert_eq!((asked.header("if-none-match"), asked.header("x-amz-server-side-encryption")), ("*", "aws:kms"));
    // An endpoint of the user's own has one host name for all buckets.
    assert!(asked.target.starts_with("/bucket/lake/a/b"), "{}", asked.target);

    let server = Server::start(|_| Reply::s3(412, "PreconditionFailed"));
    assert!(matches!(put(&server).await, Err(StoreError::AlreadyExists { path }) if path == "a/b"));
    assert_eq!(server.operations(), ["PUT"]);
}

#[tokio::test]
async fn a_lost_answer_is_looked_up() {
    // The first attempt took effect.
    let server = Server::start(|all| match last(all).method.as_str() {
        "PUT" => Reply::HangUp,
        _ => standing(first_put(all)),
    });
    put(&server).await.unwrap();
    assert_eq!(server.operations(), ["PUT", "HEAD"]);

    // Another worker was first.
    let server = Server::start(|all| match last(all).method.as_str() {
        "PUT" => Reply::s3(500, "InternalError"),
        _ => standing("another".to_owned()),
    });
    assert!(matches!(put(&server).await, Err(StoreError::AlreadyExists { .. })));
    assert_eq!(server.operations(), ["PUT", "HEAD"]);

    // It took effect late: after it was looked for, and before it was sent again.
    let server = Server::start(|all| match all.len() {
        1 => Reply::HangUp,
        2 => Reply::Say(404, Vec::new(), String::new()),
        3 => Reply::s3(412, "PreconditionFailed"),
        _ => standing(first_put(all)),
    });
    put(&server).await.unwrap();
    assert_eq!(server.operations(), ["PUT", "HEAD", "PUT", "HEAD"]);
    let ids: Vec<String> =
        server.requests().iter().filter(|r| r.method == "PUT").map(|r| r.header(ID).to_owned()).collect();
    assert_eq!(ids[0], ids[1], "the same put, sent twice");
}

#[tokio::test]
async fn a_busy_store_is_asked_again_and_what_stays_unclear_is_told() {
    for (status, code) in [(503, "SlowDown"), (409, "ConditionalRequestConflict"), (500, "InternalError")] {
        let server = Server::start(move |all| match (last(all).method.as_str(), all.len()) {
            ("PUT", 1) => Reply::s3(status, code),
            ("PUT", _) => Reply::ok(),
            _ => Reply::Say(404, Vec::new(), String::new()),
        });
        put(&server).await.unwrap();
        assert_eq!(server.operations(), ["PUT", "HEAD", "PUT"], "{code}");
    }
    let server = Server::start(|all| match last(all).method.as_str() {
        "PUT" => Reply::HangUp,
        _ => Reply::Say(404, Vec::new(), String::new()),
    });
    let journal = ObjectJournal::new(Arc::new(store(&server).await));
    let shard = authpulse_event::ShardId::new("s");
    let unclear = journal.put(&shard, 1, Bytes::from_static(b"x")).await;
    assert!(matches!(unclear, Err(JournalError::Unclear { n: 1, .. })), "{unclear:?}");
    assert_eq!(server.operations().iter().filter(|o| *o == "PUT").count(), 5);
}

#[tokio::test]
async fn refusals_say_what_is_missing() {
    let told = |reply: fn() -> Reply| async move {
        let server = Server::start(move |_| reply());
        let error = put(&server).await.unwrap_err();
        assert_eq!(server.operations().len(), 1, "a refusal is not asked for again: {error}");
        assert!(matches!(error, StoreError::Refused { .. }), "{error}");
        error.to_string()
    };
    let denied = told(|| Reply::s3(403, "AccessDenied")).await;
    assert!(denied.contains("need s3:PutObject on s3://bucket/lake/a/b"), "{denied}");
    assert!(told(|| Reply::s3(404, "NoSuchBucket")).await.contains("there is no bucket"));
    let elsewhere =
        told(|| Reply::Say(301, vec![("x-amz-bucket-region", "eu-west-1".to_owned())], String::new())).await;
    assert!(elsewhere.contains("set AWS_REGION=eu-west-1"), "{elsewhere}");
    assert!(told(|| Reply::s3(400, "ExpiredToken")).await.contains("log in again"));
    assert!(told(|| Reply::s3(403, "SignatureDoesNotMatch")).await.contains("does not know the credentials"));

    let server = Server::start(|_| Reply::Say(403, Vec::new(), String::new()));
    let error = store(&server).await.size("a/b").await.unwrap_err().to_string();
    assert!(error.contains("need s3:GetObject"), "{error}");
    let error = store(&server).await.list("a/").await.unwrap_err().to_string();
    assert!(error.contains("need s3:ListBucket on s3://bucket"), "{error}");

    // No server listens there.
    let closed = Server { endpoint: "http://127.0.0.1:1".to_owned(), ..Server::start(|_| Reply::HangUp) };
    let error = store(&closed).await.get("a/b").await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }) && error.to_string().contains("AWS_ENDPOINT_URL"), "{error}");
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_read_again() {
    let server = Server::start(|all| match all.len() {
        1 => Reply::CutOff("0123456789".to_owned()),
        _ => Reply::Say(200, Vec::new(), "0123456789".to_owned()),
    });
    assert_eq!(store(&server).await.get("a/b").await.unwrap(), "0123456789");
    assert_eq!(server.operations(), ["GET", "GET"]);
}

const BEGUN: &str = "<?xml version=\"1.0\"?><InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>lake/a/b</Key>\
                     <UploadId>u1</UploadId></InitiateMultipartUploadResult>";

#[tokio::test]
async fn an_upload_that_fails_is_aborted_and_one_that_was_completed_unseen_is_not() {
    let large = || Bytes::from(vec![7; (16 << 20) + 1]);
    let begun = || Reply::Say(200, Vec::new(), BEGUN.to_owned());
    let server =
        Server::start(move |all| match (last(all).method.as_str(), last(all).target.contains("partNumber=2")) {
            ("POST", _) => begun(),
            ("PUT", true) => Reply::s3(403, "AccessDenied"),
            ("PUT", false) => Reply::Say(200, vec![("etag", "\"e\"".to_owned())], String::new()),
            _ => Reply::Say(204, Vec::new(), String::new()),
        });
    let error = store(&server).await.put_new("a/b", large()).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert_eq!(server.operations().last().map(String::as_str), Some("DELETE"));

    let server = Server::start(move |all| {
        let (asked, id) = (last(all), all[0].header(ID).to_owned());
        match (asked.method.as_str(), asked.target.contains("uploadId")) {
            ("POST", false) => begun(),
            ("PUT", _) => Reply::Say(200, vec![("etag", "\"e\"".to_owned())], String::new()),
            ("POST", true) => Reply::HangUp,
            _ => standing(id),
        }
    });
    store(&server).await.put_new("a/b", large()).await.unwrap();
    assert_eq!(server.operations().last().map(String::as_str), Some("HEAD"));
    let complete = server.requests().into_iter().rfind(|r| r.method == "POST").unwrap();
    assert_eq!(complete.header("if-none-match"), "*");
}

const TABLE: &str = r#"{"Table":{"Name":"t","VersionId":"7","Parameters":{"table_type":"ICEBERG","metadata_location":"a","team":"soc"}}}"#;

/// A swap from `a` to `b`, in which UpdateTable gets these answers; returns the operations that it took.
async fn swap(replies: Vec<fn() -> Reply>) -> (Result<SwapOutcome, CatalogError>, Vec<String>) {
    let server = Server::start(move |all| {
        let updates = all.iter().filter(|r| r.operation() == "UpdateTable").count();
        match last(all).operation().as_str() {
            "UpdateTable" => replies[updates - 1](),
            _ => Reply::Say(200, Vec::new(), TABLE.to_owned()),
        }
    });
    let catalog = GlueCatalog::new(&aws(&server.endpoint).await, "d").unwrap();
    assert_eq!(catalog.load("t").await.unwrap().as_deref(), Some("a"));
    (catalog.swap("t", "a", "b", Table::DAILY.schema()).await, server.operations())
}

#[tokio::test]
async fn every_answer_to_a_swap_is_understood() {
    let one = ["GetTable", "UpdateTable"];
    let (done, asked) = swap(vec![|| Reply::Say(200, Vec::new(), "{}".to_owned())]).await;
    assert_eq!((done.unwrap(), asked), (SwapOutcome::Swapped, one.map(str::to_owned).to_vec()));

    let conflicts: [fn() -> Reply; 3] = [
        || Reply::json(400, "ConcurrentModificationException"),
        || Reply::json(400, "VersionMismatchException"),
        || Reply::json(400, "EntityNotFoundException"),
    ];
    for conflict in conflicts {
        let (done, asked) = swap(vec![conflict]).await;
        assert_eq!((done.unwrap(), asked), (SwapOutcome::Conflict, one.map(str::to_owned).to_vec()));
    }

    // The outcome is unclear: reported at once, and the SDK never sends it again.
    let unclear: [fn() -> Reply; 3] = [
        || Reply::HangUp,
        || Reply::json(500, "InternalServiceException"),
        || Reply::json(400, "OperationTimeoutException"),
    ];
    for (at, lost) in unclear.into_iter().enumerate() {
        let (told, asked) = swap(vec![lost]).await;
        assert!(matches!(told, Err(CatalogError::Unclear { .. })), "{at}: {told:?}");
        assert_eq!(asked, one, "{at}");
    }

    // Nothing happened for now, so it is tried again.
    let (done, asked) =
        swap(vec![|| Reply::json(400, "ThrottlingException"), || Reply::Say(200, Vec::new(), "{}".into())]).await;
    assert_eq!((done.unwrap(), asked.len()), (SwapOutcome::Swapped, 3));
    let (done, _) =
        swap(vec![|| Reply::json(400, "ThrottlingException"), || Reply::json(400, "ConcurrentModificationException")])
            .await;
    assert_eq!(done.unwrap(), SwapOutcome::Conflict);

    let (told, _) = swap(vec![|| Reply::json(400, "AccessDeniedException")]).await;
    let told = told.unwrap_err();
    assert!(matches!(told, CatalogError::Refused { .. }), "{told}");
    assert!(told.to_string().contains("need glue:UpdateTable on Glue table d.t"), "{told}");
}

#[tokio::test]
async fn a_swap_from_elsewhere_asks_first() {
    let server = Server::start(|_| Reply::Say(200, Vec::new(), TABLE.to_owned()));
    let catalog = GlueCatalog::new(&aws(&server.endpoint).await, "d").unwrap();
    assert_eq!(catalog.swap("t", "older", "b", Table::DAILY.schema()).await.unwrap(), SwapOutcome::Conflict);
    assert_eq!(server.operations(), ["GetTable"]);
}

#[tokio::test]
async fn a_table_whose_creation_went_unanswered_is_asked_for_again() {
    let lost: [fn() -> Reply; 3] =
        [|| Reply::HangUp, || Reply::json(500, "InternalServiceException"), || Reply::json(400, "ThrottlingException")];
    for lost in lost {
        // The first call had taken effect, or not.
        for (second, outcome) in [(Reply::ok as fn() -> Reply, SwapOutcome::Swapped), (exists, SwapOutcome::Conflict)] {
            let server = Server::start(move |all| if all.len() == 1 { lost() } else { second() });
            let catalog = GlueCatalog::new(&aws(&server.endpoint).await, "d").unwrap();
            assert_eq!(catalog.create("t", "a", Table::DAILY.schema()).await.unwrap(), outcome);
            assert_eq!(server.operations(), ["CreateTable", "CreateTable"]);
        }
    }
}

fn exists() -> Reply {
    Reply::json(400, "AlreadyExistsException")
}

/// A lock that nobody holds yet. The first PutItem gets this answer; any later one succeeds or is refused.
async fn hold(first: fn() -> Reply, took_effect: bool) -> (bool, Vec<String>) {
    let server = Server::start(move |all| {
        let puts = all.iter().filter(|r| r.operation() == "PutItem").count();
        let owner = all.iter().find(|r| r.operation() == "PutItem").and_then(|r| r.text(r#""lease_owner":{"S":""#));
        match (last(all).operation().as_str(), owner) {
            ("PutItem", _) if puts == 1 => first(),
            ("PutItem", _) if took_effect => Reply::json(400, "ConditionalCheckFailedException"),
            ("GetItem", Some(owner)) if took_effect => {
                let item = format!(r#"{{"Item":{{"lease_owner":{{"S":"{owner}"}},"lease_counter":{{"N":"1"}}}}}}"#);
                Reply::Say(200, Vec::new(), item)
            }
            _ => Reply::Say(200, Vec::new(), "{}".to_owned()),
        }
    });
    let lock =
        DynamoDbCommitterLock::new(&aws(&server.endpoint).await, "lake", "a test", std::time::Duration::from_secs(60));
    (lock.hold().await.unwrap(), server.operations())
}

#[tokio::test]
async fn the_lock_is_ours_whether_the_unanswered_write_took_effect_or_not() {
    let lost: [fn() -> Reply; 3] = [
        || Reply::HangUp,
        || Reply::json(500, "InternalServerError"),
        || Reply::json(400, "ProvisionedThroughputExceededException"),
    ];
    for lost in lost {
        assert_eq!(hold(lost, false).await, (true, ["GetItem", "PutItem", "PutItem"].map(str::to_owned).to_vec()));
        let looked_up = ["GetItem", "PutItem", "PutItem", "GetItem"].map(str::to_owned).to_vec();
        assert_eq!(hold(lost, true).await, (true, looked_up));
    }
}

#[tokio::test]
async fn an_entry_whose_answer_was_lost_is_created_once() {
    let server = Server::start(|all| match last(all).method.as_str() {
        "PUT" => Reply::HangUp,
        _ => standing(first_put(all)),
    });
    let journal = ObjectJournal::new(Arc::new(store(&server).await));
    let shard = authpulse_event::ShardId::new("s@demo.1");
    assert_eq!(journal.put(&shard, 5, Bytes::from_static(b"x")).await.unwrap(), PutOutcome::Created);
    assert!(
        server.requests()[0].target.starts_with("/bucket/lake/journal/s%2140demo.1/00000000000000000005")
            || server.requests()[0].target.starts_with("/bucket/lake/journal/s!40demo.1/00000000000000000005")
    );
}
