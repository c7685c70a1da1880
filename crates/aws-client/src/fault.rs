//! What an error of AWS means for the caller, and what a person can do about it.
//!
//! There are three meanings. Refused: nothing happened, and a further attempt would be refused too. Busy: nothing happened, and a later
//! attempt may succeed. Unclear: it may have happened or not. Every error that is not known to be one of the first two is unclear.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::error::Error;

/// An error of any client of the SDK.
pub type SdkError<E> = result::SdkError<E, HttpResponse>;

/// The call that failed, for the text of the error.
#[derive(Clone, Debug)]
pub struct Call {
    /// The IAM action that allows the call, such as `s3:PutObject`.
    pub action: &'static str,
    /// The resource that it is about, such as `s3://bucket/key`.
    pub on: String,
}

/// The meaning of an error, with a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happened, and the same call would be refused again.
    Refused(String),
    /// Nothing happened; the same call may succeed later.
    Busy(String),
    /// The call may have taken effect or not.
    Unclear(String),
}

impl Fault {
    /// The text for people.
    pub fn text(self) -> String {
        match self {
            Fault::Refused(text) | Fault::Busy(text) | Fault::Unclear(text) => text,
        }
    }
}

/// Which part of a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Before anything was sent: in the settings or credentials.
    Asking,
    /// On the way: no connection, a broken one, or no answer in time.
    Transport,
    /// The service answered with an error.
    Answer,
}

/// The parts of an error from which its meaning follows.
#[derive(Clone, Debug)]
struct Seen {
    part: Part,
    code: String,
    message: String,
    status: u16,
    bucket_region: Option<String>,
    request_id: Option<String>,
    /// The error and its causes, in one line.
    chain: String,
}

/// The error code that the service gave; empty if there is none.
pub fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> &str {
    error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default()
}

/// The HTTP status; 0 if there was no answer.
pub fn status<E>(error: &SdkError<E>) -> u16 {
    error.raw_response().map_or(0, |response| response.status().as_u16())
}

/// Finds out what an error means, and puts that into words.
pub fn explain<E>(error: &SdkError<E>, call: &Call) -> Fault
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let part = match error {
        SdkError::ConstructionFailure(_) => Part::Asking,
        SdkError::ServiceError(_) => Part::Answer,
        _ => Part::Transport,
    };
    let header = |name| error.raw_response().and_then(|r: &HttpResponse| r.headers().get(name)).map(str::to_owned);
    let service = error.as_service_error();
    classify(
        &Seen {
            part,
            code: code(error).to_owned(),
            message: service.and_then(ProvideErrorMetadata::message).unwrap_or_default().to_owned(),
            status: status(error),
            bucket_region: header("x-amz-bucket-region"),
            request_id: header("x-amz-request-id").or_else(|| header("x-amzn-requestid")),
            chain: chain(error),
        },
        call,
    )
}

/// An error and its causes in one line. A cause that only repeats the error before is left out.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !text.is_empty() && !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = inner.source();
    }
    line
}

/// Codes that mean "not now". Each promises that nothing was done.
const BUSY: &[&str] = &[
    "SlowDown",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "ProvisionedThroughputExceededException",
    "BandwidthLimitExceeded",
    "ConditionalRequestConflict",
    "OperationAborted",
    "ResourceNotReadyException",
    "ConcurrentRunsExceededException",
    "TransactionInProgressException",
    "LimitExceededException",
    "KMSThrottlingException",
];

/// Codes that mean that the caller is unknown.
const UNKNOWN_CALLER: &[&str] = &[
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "InvalidSecurity",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "IncompleteSignature",
    "InvalidToken",
];

/// How the SDK's `CredentialsError` begins if there is a source of credentials that gives none at the moment: a metadata service that is
/// slow, an STS that throttles. A running service asks again; for one that starts it is an error.
const LATE_CREDENTIALS: &[&str] = &["credentials provider timed out", "an error occurred while loading credentials"];

fn classify(seen: &Seen, call: &Call) -> Fault {
    let (code, on) = (seen.code.as_str(), &call.on);
    let said = said(seen);
    let refused = |what: String| Fault::Refused(format!("{what} ({said})"));
    if seen.part != Part::Answer {
        let chain = &seen.chain;
        let text = chain.to_ascii_lowercase();
        if LATE_CREDENTIALS.iter().any(|words| text.contains(words)) {
            return Fault::Unclear(format!("AWS credentials for {on} could not be renewed for now: {chain}"));
        }
        if text.contains("credential") || text.contains("profile `") {
            return Fault::Refused(format!(
                "no AWS credentials for {on}: {chain}: set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the \
                 machine, task or pod a role"
            ));
        }
        if seen.part == Part::Asking {
            return Fault::Refused(format!("{} on {on} could not be asked for: {chain}", call.action));
        }
        return Fault::Unclear(format!(
            "no answer to {} on {on}: {chain}: check the network, AWS_REGION and, where they are set, AWS_ENDPOINT_URL and its \
             kin",
            call.action
        ));
    }
    match code {
        _ if BUSY.contains(&code) => Fault::Busy(format!("{on} is busy: {said}")),
        "NoSuchBucket" => refused(format!("there is no bucket for {on}: make it, or name another --lake")),
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            wrong_region(seen, call)
        }
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            refused(format!("the AWS session has expired ({on}): log in again, or renew the credentials"))
        }
        "RequestTimeTooSkewed" | "RequestInTheFuture" => {
            refused(format!("this computer's clock is wrong, AWS refuses to be asked for {on}: set the clock"))
        }
        "AccessDenied"
        | "AccessDeniedException"
        | "AllAccessDisabled"
        | "Forbidden"
        | "KMS.AccessDeniedException"
        | "KMSAccessDeniedException" => denied(seen, call),
        _ if code.starts_with("KMS") || code.starts_with("Kms") => refused(format!(
            "the key that encrypts {on} cannot be used: check that it exists, is enabled and lies in the same region"
        )),
        _ if UNKNOWN_CALLER.contains(&code) => refused(format!(
            "AWS does not know the credentials it was asked with ({on}): check AWS_PROFILE, AWS_ACCESS_KEY_ID and the account"
        )),
        "RequestTimeout" | "OperationTimeoutException" => {
            Fault::Unclear(format!("{} on {on} took too long: {said}", call.action))
        }
        // An answer to HEAD has no body, and so no code; and a proxy in between does not answer like AWS.
        _ => match seen.status {
            301 | 307 => wrong_region(seen, call),
            403 => denied(seen, call),
            429 => Fault::Busy(format!("{on} is busy: {said}")),
            400 if code.is_empty() => refused(format!(
                "{} on {on} was refused without a reason: most often the region is wrong or the session has expired; check \
                 AWS_REGION and the credentials",
                call.action
            )),
            400..=499 => refused(format!("{} on {on} was refused", call.action)),
            _ => Fault::Unclear(format!("{} on {on} failed: {said}", call.action)),
        },
    }
}

fn said(seen: &Seen) -> String {
    let mut said = if seen.code.is_empty() { format!("HTTP {}", seen.status) } else { seen.code.clone() };
    if !seen.message.is_empty() {
        said = format!("{said}: {}", seen.message.trim_end_matches('.'));
    }
    // AWS support asks for this id.
    if let Some(id) = &seen.request_id {
        said = format!("{said}; request {id}");
    }
    said
}

fn wrong_region(seen: &Seen, call: &Call) -> Fault {
    let place = match &seen.bucket_region {
        Some(region) => format!("its bucket is in region {region}: set AWS_REGION={region}"),
        None => "its bucket is in another region: set AWS_REGION to it".to_owned(),
    };
    Fault::Refused(format!("{} was asked for in the wrong region, {place} ({})", call.on, said(seen)))
}

fn denied(seen: &Seen, call: &Call) -> Fault {
    let lower = seen.message.to_ascii_lowercase();
    let action = if seen.code.starts_with("KMS") || lower.contains("kms:") {
        // S3 asks the key's service on behalf of the caller; its message names the missing permission.
        "kms:GenerateDataKey and kms:Decrypt, in IAM and in the key's own policy,"
    } else if lower.contains("lakeformation") || lower.contains("lake formation") {
        "the Lake Formation permission that it names"
    } else {
        call.action
    };
    let hint = if call.action.starts_with("s3:GetObject") && seen.message.is_empty() {
        "; without s3:ListBucket a missing file looks the same"
    } else {
        ""
    };
    Fault::Refused(format!(
        "not allowed: the credentials in use need {action} on {}{hint}; docs/aws.md has the whole policy ({})",
        call.on,
        said(seen)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(part: Part, status: u16, code: &str, message: &str) -> Seen {
        Seen {
            part,
            code: code.to_owned(),
            message: message.to_owned(),
            status,
            bucket_region: None,
            request_id: Some("R1".to_owned()),
            chain: "dispatch failure: connection refused".to_owned(),
        }
    }

    fn call() -> Call {
        Call { action: "s3:PutObject", on: "s3://lake/x".to_owned() }
    }

    #[test]
    fn what_is_not_known_to_be_refused_or_busy_is_unclear() {
        for (status, code) in [
            (500, "InternalError"),
            (502, ""),
            (504, "GatewayTimeout"),
            (400, "RequestTimeout"),
            (400, "OperationTimeoutException"),
            (200, "InternalError"),
        ] {
            let fault = classify(&seen(Part::Answer, status, code, ""), &call());
            assert!(matches!(fault, Fault::Unclear(_)), "{status} {code}: {fault:?}");
        }
        assert!(matches!(classify(&seen(Part::Transport, 0, "", ""), &call()), Fault::Unclear(_)));
        for (status, code) in
            [(503, "SlowDown"), (409, "ConditionalRequestConflict"), (400, "ThrottlingException"), (429, "")]
        {
            let fault = classify(&seen(Part::Answer, status, code, ""), &call());
            assert!(matches!(fault, Fault::Busy(_)), "{status} {code}: {fault:?}");
        }
    }

    #[test]
    fn refusals_name_what_to_do() {
        let told = |status, code, message: &str| match classify(&seen(Part::Answer, status, code, message), &call()) {
            Fault::Refused(text) => text,
            other => panic!("{status} {code}: {other:?}"),
        };
        assert!(told(403, "AccessDenied", "").contains("need s3:PutObject on s3://lake/x"));
        assert!(told(403, "", "").contains("need s3:PutObject"), "an answer to HEAD");
        assert!(
            told(403, "AccessDenied", "not authorized to perform: kms:GenerateDataKey").contains("kms:GenerateDataKey")
        );
        assert!(told(404, "NoSuchBucket", "").contains("there is no bucket"));
        assert!(told(301, "PermanentRedirect", "").contains("AWS_REGION"));
        assert!(told(400, "ExpiredToken", "").contains("log in again"));
        assert!(told(403, "RequestTimeTooSkewed", "").contains("clock"));
        assert!(told(403, "InvalidAccessKeyId", "").contains("AWS_PROFILE"));
        assert!(told(400, "", "").contains("region is wrong"));
        assert!(told(400, "InvalidArgument", "bad.").contains("(InvalidArgument: bad; request R1)"));
        let mut elsewhere = seen(Part::Answer, 301, "", "");
        elsewhere.bucket_region = Some("eu-west-1".to_owned());
        assert!(classify(&elsewhere, &call()).text().contains("set AWS_REGION=eu-west-1"));
        let mut nobody = seen(Part::Transport, 0, "", "");
        nobody.chain = "dispatch failure: no providers in chain provided credentials".to_owned();
        assert!(matches!(classify(&nobody, &call()), Fault::Refused(text) if text.contains("AWS_PROFILE")));
    }
}
