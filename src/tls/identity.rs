//! What a certificate says of its holder.

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// The subject's common name, byte by byte. None if there is no name, more than one, one with a NUL, or one in an
/// encoding in which other bytes could mean the same: it would name a user that the authority may not have meant.
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let certificate = CertificateInner::<Raw>::from_der(certificate).ok()?;
    let mut names = certificate.tbs_certificate().subject().iter().filter(|part| part.oid == COMMON_NAME);
    let (Some(name), None) = (names.next(), names.next()) else { return None };
    let is_bytes = matches!(name.value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String);
    let bytes = name.value.value();
    (is_bytes && !bytes.is_empty() && !bytes.contains(&0)).then(|| bytes.to_vec())
}

/// The URIs among the subject's alternative names, byte by byte, without those that have a NUL.
pub fn uris(certificate: &CertificateDer<'_>) -> Vec<Vec<u8>> {
    let Ok(certificate) = CertificateInner::<Raw>::from_der(certificate) else { return Vec::new() };
    let Ok(Some((_, names))) = certificate.tbs_certificate().get_extension::<SubjectAltName>() else {
        return Vec::new();
    };
    let uri = |name: &GeneralName| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_bytes().to_vec()),
        _ => None,
    };
    names.0.iter().filter_map(uri).filter(|uri| !uri.is_empty() && !uri.contains(&0)).collect()
}

/// The holder's public key, without the name of its algorithm. None if the certificate is malformed.
pub fn public_key(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let certificate = CertificateInner::<Raw>::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes().to_vec())
}

/// The same of a key by itself.
pub fn key_of_info(info: &SubjectPublicKeyInfoDer<'_>) -> Option<Vec<u8>> {
    let info = SubjectPublicKeyInfoOwned::from_der(info).ok()?;
    Some(info.subject_public_key.raw_bytes().to_vec())
}

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
