//! Secrets.

use windlass::secrets::{SecretError, Secrets};

/// A secret that the store under test has.
pub const NAME: &str = "windlass/approval-keys";
/// What it says.
pub const VALUE: &str = r#"{"current":"k1"}"#;

pub async fn a_secret_is_had_by_its_name(secrets: &dyn Secrets) {
    use secrecy::ExposeSecret as _;
    assert_eq!(secrets.get(NAME).await.expect("it is there").expose_secret(), VALUE);
}

pub async fn a_secret_can_be_seen_to_be_there_without_being_read(secrets: &dyn Secrets) {
    assert_eq!(secrets.exists(NAME).await, Ok(()));
    let missing = SecretError::Missing { name: "windlass/other".to_owned() };
    assert_eq!(secrets.exists("windlass/other").await, Err(missing));
}

pub async fn a_secret_that_is_not_there_is_missing(secrets: &dyn Secrets) {
    let missing = secrets.get("windlass/other").await.expect_err("it is not there");
    assert_eq!(missing, SecretError::Missing { name: "windlass/other".to_owned() });
}
