//! The parameters of a URL or a form (`application/x-www-form-urlencoded`), decoded strictly: what a client did not mean
//! to say is not answered as if it had.

use super::problem::{Problem, ProblemKind};

/// Parameters in a request.
pub(crate) const MAX_PARAMETERS: usize = 256;

/// Names and values, in the order in which they came.
pub(crate) type Pairs = Vec<(String, String)>;

/// Why parameters cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParameterError {
    /// A `%` without two hexadecimal digits behind it.
    #[error("the parameters have a % that no two hexadecimal digits follow; write %25 for a percent sign")]
    Escape,
    /// Bytes that are no text.
    #[error("the parameters are not UTF-8")]
    NotText,
    /// More than [`MAX_PARAMETERS`].
    #[error("there are more than {MAX_PARAMETERS} parameters")]
    TooMany,
    /// A name that the path does not know.
    #[error("there is no parameter {0:?} here")]
    Unknown(String),
    /// A name that came before.
    #[error("the parameter {0:?} is there twice")]
    Twice(&'static str),
}

impl From<ParameterError> for Problem {
    fn from(error: ParameterError) -> Self {
        let remedy = match &error {
            ParameterError::Escape | ParameterError::NotText => "percent-encode the parameters as UTF-8",
            ParameterError::TooMany => "leave some out",
            ParameterError::Unknown(_) => "GET /docs lists the parameters of every path",
            ParameterError::Twice(_) => "give each parameter once",
        };
        Self::new(ProblemKind::BadRequest, error.to_string()).remedy(remedy)
    }
}

/// Decodes what stands behind the `?` of a URL, or in a form.
pub(crate) fn decode(encoded: &[u8]) -> Result<Pairs, ParameterError> {
    let mut pairs = Pairs::new();
    for pair in encoded.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == MAX_PARAMETERS {
            return Err(ParameterError::TooMany);
        }
        let mut sides = pair.splitn(2, |byte| *byte == b'=');
        let name = sides.next().unwrap_or_default();
        pairs.push((text(name)?, text(sides.next().unwrap_or_default())?));
    }
    Ok(pairs)
}

fn text(encoded: &[u8]) -> Result<String, ParameterError> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.and_then(|digit| hexadecimal(*digit)));
                let [Some(high), Some(low)] = digits else { return Err(ParameterError::Escape) };
                high << 4 | low
            }
            plain => *plain,
        });
    }
    String::from_utf8(bytes).map_err(|_| ParameterError::NotText)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The values of `names`, each once at most, and nothing else: a word that is spelt wrong would otherwise be left out, and
/// the answer be to another question.
pub(super) fn only<const N: usize>(
    query: Option<&str>,
    names: [&'static str; N],
) -> Result<[Option<String>; N], ParameterError> {
    let mut values = [const { None }; N];
    for (name, value) in decode(query.unwrap_or_default().as_bytes())? {
        let Some(at) = names.iter().position(|known| *known == name) else {
            return Err(ParameterError::Unknown(name.chars().take(64).collect()));
        };
        if values[at].replace(value).is_some() {
            return Err(ParameterError::Twice(names[at]));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_text_is_refused() {
        let decoded = |text: &str| decode(text.as_bytes());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            decoded("a=1&&b&=c&d=x+y%3D%c3%A9=z"),
            Ok(vec![pair("a", "1"), pair("b", ""), pair("", "c"), pair("d", "x y=é=z")])
        );
        for bad in ["a=%", "a=%4", "a=%zz", "%g0=1", "a=%+1"] {
            assert_eq!(decoded(bad), Err(ParameterError::Escape), "{bad}");
        }
        assert_eq!(decoded("a=%ff"), Err(ParameterError::NotText));
        assert_eq!(decode(b"a=\xc3"), Err(ParameterError::NotText));
        assert_eq!(decoded(&"a&".repeat(MAX_PARAMETERS)).map(|pairs| pairs.len()), Ok(MAX_PARAMETERS));
        assert_eq!(decoded(&"a&".repeat(MAX_PARAMETERS + 1)), Err(ParameterError::TooMany));
    }

    #[test]
    fn each_parameter_is_known_and_there_once() {
        let given = |query| only(Some(query), ["a", "b"]);
        assert_eq!(given("b=2"), Ok([None, Some("2".into())]));
        assert_eq!(only(None, ["a"]), Ok([None]));
        assert_eq!(given("a=1&a=1"), Err(ParameterError::Twice("a")));
        assert_eq!(given("c=1"), Err(ParameterError::Unknown("c".into())));
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(pairs in proptest::collection::vec((any::<String>(), any::<String>()), 0..8)) {
            let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
            prop_assert_eq!(decode(encoded.as_bytes()), Ok(pairs));
        }

        #[test]
        fn no_bytes_are_too_odd(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
