//! Keys that say what is under them.

use std::{borrow::Cow, collections::BTreeMap, sync::LazyLock};

use super::Kind;

/// How a mark begins, see [`Kind::mark`].
const MARK: &str = "[redacted:";

/// The most bytes of a key that is looked at.
const KEY_BYTES_MAX: usize = 64;

/// Endings of keys, in lower case with `_` between words. A key matches an ending at a word's start: `access_token` ends in
/// `token`; `tokens`, `input_tokens` and `idempotency_key` match nothing. The longest wins.
const ENDINGS: &[(&str, Kind)] = &[
    ("password", Kind::Password),
    ("passwd", Kind::Password),
    ("pwd", Kind::Password),
    ("passphrase", Kind::Password),
    ("passcode", Kind::Password),
    ("pin", Kind::Password),
    ("pin_code", Kind::Password),
    ("aws_secret_access_key", Kind::AwsSecretKey),
    ("secret_access_key", Kind::AwsSecretKey),
    ("private_key", Kind::PrivateKey),
    ("api_key", Kind::ApiKey),
    ("apikey", Kind::ApiKey),
    ("access_key", Kind::ApiKey),
    ("account_key", Kind::ApiKey),
    ("signing_key", Kind::ApiKey),
    ("encryption_key", Kind::ApiKey),
    ("secret", Kind::Secret),
    ("secret_key", Kind::Secret),
    ("client_secret", Kind::Secret),
    ("credential", Kind::Secret),
    ("credentials", Kind::Secret),
    ("connection_string", Kind::Secret),
    ("token", Kind::Token),
    ("session_id", Kind::Cookie),
    ("sessionid", Kind::Cookie),
    ("cookie", Kind::Cookie),
    ("cookies", Kind::Cookie),
    ("authorization", Kind::Authorization),
    ("otp", Kind::OneTimeCode),
    ("totp", Kind::OneTimeCode),
    ("mfa_code", Kind::OneTimeCode),
    ("one_time_code", Kind::OneTimeCode),
    ("one_time_password", Kind::OneTimeCode),
    ("verification_code", Kind::OneTimeCode),
    ("cvv", Kind::CardCode),
    ("cvc", Kind::CardCode),
    ("cvv2", Kind::CardCode),
    ("security_code", Kind::CardCode),
    ("card", Kind::Card),
    ("card_number", Kind::Card),
    ("cardnumber", Kind::Card),
    ("card_no", Kind::Card),
    ("iban", Kind::BankAccount),
    ("bank_account", Kind::BankAccount),
    ("account_number", Kind::BankAccount),
    ("routing_number", Kind::BankAccount),
    ("sort_code", Kind::BankAccount),
    ("email", Kind::Email),
    ("e_mail", Kind::Email),
    ("email_address", Kind::Email),
    ("phone", Kind::Phone),
    ("phone_number", Kind::Phone),
    ("telephone", Kind::Phone),
    ("mobile", Kind::Phone),
    ("mobile_number", Kind::Phone),
    ("fax", Kind::Phone),
    ("ssn", Kind::NationalId),
    ("social_security_number", Kind::NationalId),
    ("national_id", Kind::NationalId),
    ("national_insurance_number", Kind::NationalId),
    ("tax_id", Kind::NationalId),
    ("passport", Kind::Document),
    ("passport_number", Kind::Document),
    ("driving_licence", Kind::Document),
    ("driver_license", Kind::Document),
    ("drivers_license", Kind::Document),
    ("license_number", Kind::Document),
    ("ip", Kind::IpAddress),
    ("ip_address", Kind::IpAddress),
    ("dob", Kind::BirthDate),
    ("birthday", Kind::BirthDate),
    ("birth_date", Kind::BirthDate),
    ("birthdate", Kind::BirthDate),
    ("date_of_birth", Kind::BirthDate),
    ("street", Kind::PostalAddress),
    ("address", Kind::PostalAddress),
    ("address_line", Kind::PostalAddress),
    ("post_code", Kind::PostalAddress),
    ("postcode", Kind::PostalAddress),
    ("postal_code", Kind::PostalAddress),
    ("zip_code", Kind::PostalAddress),
    ("first_name", Kind::PersonName),
    ("last_name", Kind::PersonName),
    ("full_name", Kind::PersonName),
    ("given_name", Kind::PersonName),
    ("family_name", Kind::PersonName),
    ("surname", Kind::PersonName),
    ("maiden_name", Kind::PersonName),
    ("customer_name", Kind::PersonName),
    ("latitude", Kind::Location),
    ("longitude", Kind::Location),
    ("geolocation", Kind::Location),
];

/// The most words of an ending.
const ENDING_WORDS_MAX: usize = 4;

/// The kinds by their endings.
static BY_ENDING: LazyLock<BTreeMap<&str, Kind>> = LazyLock::new(|| ENDINGS.iter().copied().collect());

/// What is under a key of this name. The longest ending wins: `email_address` is an e-mail address and no postal one.
pub(super) fn kind_of(name: &str) -> Option<Kind> {
    if name.is_empty() || name.len() > KEY_BYTES_MAX {
        return None;
    }
    let words = words(&without_marks(name));
    let begins = words.rmatch_indices('_').map(|(underscore, _)| underscore + 1).chain([0]).take(ENDING_WORDS_MAX);
    begins.filter_map(|begin| BY_ENDING.get(&words[begin..]).copied()).last()
}

/// What stands in the place of personal data in a name is not a name: `[redacted:email]` holds no e-mail address.
fn without_marks(name: &str) -> Cow<'_, str> {
    let mut rest = name;
    let mut plain = String::new();
    while let Some((before, after)) =
        rest.split_once(MARK).and_then(|(before, mark)| Some((before, mark.split_once(']')?.1)))
    {
        plain.push_str(before);
        plain.push(' ');
        rest = after;
    }
    if plain.is_empty() { Cow::Borrowed(rest) } else { Cow::Owned(plain + rest) }
}

/// `dateOfBirth`, `Date-Of-Birth` and `date.of.birth2` as `date_of_birth`. An underscore at the beginning stays.
fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    let mut before = '_';
    for c in name.chars() {
        if c.is_uppercase() && (before.is_lowercase() || before.is_ascii_digit()) {
            words.push('_');
        }
        match c.is_alphanumeric() {
            true => words.extend(c.to_lowercase()),
            false if !words.ends_with('_') => words.push('_'),
            false => {}
        }
        before = c;
    }
    if words.trim_matches('_') != "cvv2" {
        words.truncate(words.trim_end_matches('_').trim_end_matches(|c: char| c.is_ascii_digit()).len());
    }
    words.truncate(words.trim_end_matches('_').len());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_however_it_is_spelled_and_no_innocent_one_is() {
        for (name, kind) in [
            ("password", Kind::Password),
            ("dbPassword", Kind::Password),
            ("DB_PASSWORD", Kind::Password),
            ("x-api-key", Kind::ApiKey),
            ("access_token", Kind::Token),
            ("Proxy-Authorization", Kind::Authorization),
            ("set-cookie", Kind::Cookie),
            ("dateOfBirth", Kind::BirthDate),
            ("emailAddress", Kind::Email),
            ("shipping_address", Kind::PostalAddress),
            ("addressLine2", Kind::PostalAddress),
            ("AWS_SECRET_ACCESS_KEY", Kind::AwsSecretKey),
        ] {
            assert_eq!(kind_of(name), Some(kind), "{name}");
        }
        for name in [
            "",
            "tokens",
            "input_tokens",
            "idempotency_key",
            "order",
            "amount_cents",
            "text",
            "name",
            "shipping",
            "secretary",
            "author",
            "key",
            "spin",
            "phonetic",
            "trace",
            "digest",
        ] {
            assert_eq!(kind_of(name), None, "{name}");
        }
    }
}
