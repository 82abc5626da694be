//! Every port on the AWS SDK.

pub mod tables;
