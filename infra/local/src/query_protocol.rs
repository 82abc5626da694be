//! AWS's query protocol (`Action=…` in a form, answers in XML): STS's `GetCallerIdentity`, and a refusal of everything else that says which
//! protocol is spoken here.
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};

use crate::identifier;

/// The most characters of an access key's id.
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_Credentials.html>
const ACCESS_KEY_CHARS_MAX: usize = 128;

/// The answer, if a request is one of this protocol.
pub(crate) fn answer(account: &str, headers: &HeaderMap, body: &[u8]) -> Option<Response<Body>> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    if !content_type.starts_with("application/x-www-form-urlencoded") {
        return None;
    }
    let form = std::str::from_utf8(body).ok()?;
    let action = form.split('&').find_map(|field| field.strip_prefix("Action="))?;
    Some(match action {
        "GetCallerIdentity" => xml(StatusCode::OK, &identity(account, &access_key(headers))),
        _ => xml(StatusCode::BAD_REQUEST, &refusal(action)),
    })
}

/// The id of the access key that signed the request; signatures are not checked here.
fn access_key(headers: &HeaderMap) -> String {
    let signed = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let credential = signed.split_once("Credential=").map_or("", |(_, rest)| rest);
    let key = credential.split('/').next().unwrap_or_default();
    let sound = (1..=ACCESS_KEY_CHARS_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if sound { key.to_owned() } else { "anonymous".to_owned() }
}

fn identity(account: &str, key: &str) -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>arn:aws:iam::{account}:user/{key}</Arn><UserId>{key}</UserId><Account>{account}</Account>\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></GetCallerIdentityResponse>",
        identifier::uuid()
    )
}

fn refusal(action: &str) -> String {
    let named: String = action.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidAction</Code><Message>the query protocol is not answered on this \
         machine, but for GetCallerIdentity: send {named} as JSON, with X-Amz-Target</Message></Error><RequestId>{}</RequestId></ErrorResponse>",
        identifier::uuid()
    )
}

fn xml(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str, credential: &str) -> (StatusCode, String) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(credential).expect("a header"));
        let response = answer("000000000000", &headers, body.as_bytes()).expect("it is of the protocol");
        let status = response.status();
        let bytes = futures::executor::block_on(axum::body::to_bytes(response.into_body(), 64 * 1024)).expect("a body");
        (status, String::from_utf8(bytes.to_vec()).expect("text"))
    }

    #[test]
    fn who_asks_is_named_by_the_access_key_and_nothing_else_is_put_into_the_answer() {
        let body = "Action=GetCallerIdentity&Version=2011-06-15";
        let signed = "AWS4-HMAC-SHA256 Credential=local/20261201/us-east-1/sts/aws4_request, SignedHeaders=host";
        let (status, said) = asked(body, signed);
        assert_eq!(status, StatusCode::OK);
        assert!(said.contains("<Arn>arn:aws:iam::000000000000:user/local</Arn>"), "{said}");
        assert!(asked(body, "Credential=<a>/x").1.contains("user/anonymous"));
    }

    #[test]
    fn another_action_is_told_which_protocol_is_spoken() {
        let (status, said) = asked("Action=ListQueues&Version=2012-11-05", "x");
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(said.contains("send ListQueues as JSON, with X-Amz-Target"), "{said}");
        assert!(answer("0", &HeaderMap::new(), b"Action=ListQueues").is_none(), "no form");
    }
}
