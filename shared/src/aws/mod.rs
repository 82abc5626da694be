//! Every port on the AWS SDK.
