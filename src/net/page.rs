//! The page for people at `/`: one document with its style and its script, and what a browser may do with it.
//!
//! It has no figures of its own, so it needs no token: its script asks for `/figures.json`. The policy lets the browser run
//! the style and the script that are in the document, by their hashes, and speak to the listener; nothing else.

use crate::checksum::sha256;
use std::sync::LazyLock;

/// The document.
pub const HTML: &str = include_str!("page.html");

/// Its `Content-Security-Policy`.
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |element| base64(&sha256(content(element).as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("style"),
        hash("script"),
    )
});

/// What is inside of the document's only element of a kind.
fn content(element: &str) -> &'static str {
    let inside =
        HTML.split_once(&format!("<{element}>")).and_then(|(_, rest)| rest.split_once(&format!("</{element}>")));
    inside.map_or("", |(content, _)| content)
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = (bits >> (18 - 6 * at)) as usize % BASE64.len();
            text.push(if at <= group.len() { char::from(BASE64[digit]) } else { '=' });
        }
    }
    text
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        let texts = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"], "RFC 4648");
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn the_document_has_one_style_one_script_and_nothing_from_elsewhere() {
        for element in ["style", "script"] {
            assert!(content(element).len() > 1000);
            assert_eq!(
                (HTML.matches(&format!("<{element}")).count(), HTML.matches(&format!("</{element}")).count()),
                (1, 1)
            );
        }
        for word in
            ["http:", "https:", "//cdn", "@import", "src=", "innerHTML", "insertAdjacentHTML", "eval(", " style="]
        {
            assert!(!HTML.contains(word), "{word}");
        }
        // Of links, only the icon, which is empty.
        assert_eq!((HTML.matches("href=").count(), HTML.matches("href=\"data:,\"").count()), (1, 1));
    }
}
