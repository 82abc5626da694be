//! What there is to take out.

/// How bad it is to show something, from bad to worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It says something about a person: shown only where it is needed.
    Personal,
    /// It opens a door: never shown.
    Credential,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident, $class:ident, $word:literal;)*) => {
        /// What was taken out.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Kind] = &[$(Kind::$name,)*];

            /// The word in its mark.
            pub const fn word(self) -> &'static str {
                match self { $(Kind::$name => $word,)* }
            }

            /// How bad it is to show it.
            pub const fn class(self) -> Class {
                match self { $(Kind::$name => Class::$class,)* }
            }
        }
    };
}

kinds! {
    /// A password, passphrase or PIN, by its key.
    Password, Credential, "password";
    /// Something called secret, by its key.
    Secret, Credential, "secret";
    /// A token, by its key.
    Token, Credential, "token";
    /// An API key, by its key.
    ApiKey, Credential, "api-key";
    /// A one-time code, by its key.
    OneTimeCode, Credential, "one-time-code";
    /// A session cookie, by its key.
    Cookie, Credential, "cookie";
    /// An authorization header, by its key or as `Bearer …` or `Basic …`.
    Authorization, Credential, "authorization";
    /// A JSON web token.
    Jwt, Credential, "jwt";
    /// A private key in PEM.
    PrivateKey, Credential, "private-key";
    /// An AWS access key id.
    AwsAccessKey, Credential, "aws-access-key";
    /// An AWS secret access key.
    AwsSecretKey, Credential, "aws-secret-key";
    /// A key of OpenAI or of a provider that writes keys like it.
    OpenAiKey, Credential, "openai-key";
    /// A key of Anthropic.
    AnthropicKey, Credential, "anthropic-key";
    /// A token of GitHub.
    GitHubToken, Credential, "github-token";
    /// A token of GitLab.
    GitLabToken, Credential, "gitlab-token";
    /// A token or hook of Slack.
    SlackToken, Credential, "slack-token";
    /// A key of Stripe.
    StripeKey, Credential, "stripe-key";
    /// A key or token of Google.
    GoogleKey, Credential, "google-key";
    /// A key of SendGrid.
    SendGridKey, Credential, "sendgrid-key";
    /// A token of a package registry or a model hub.
    RegistryToken, Credential, "registry-token";
    /// A user name and password within a URL.
    UrlPassword, Credential, "url-password";
    /// The check code of a payment card, by its key.
    CardCode, Credential, "card-code";
    /// A payment card number that passes Luhn's check, or by its key.
    Card, Personal, "card";
    /// An IBAN with the right check digits, or a bank account by its key.
    BankAccount, Personal, "bank-account";
    /// An e-mail address.
    Email, Personal, "email";
    /// A telephone number.
    Phone, Personal, "phone";
    /// A US social security number, or another national number by its key.
    NationalId, Personal, "national-id";
    /// A passport or driving licence, by its key.
    Document, Personal, "document";
    /// An IP address that is not loopback.
    IpAddress, Personal, "ip-address";
    /// A date of birth, by its key.
    BirthDate, Personal, "birth-date";
    /// A postal address, by its key.
    PostalAddress, Personal, "postal-address";
    /// A person's name, by its key.
    PersonName, Personal, "person-name";
    /// Where somebody is, by its key.
    Location, Personal, "location";
}

impl Kind {
    /// What stands in its place.
    pub fn mark(self) -> String {
        format!("[redacted:{}]", self.word())
    }
}
