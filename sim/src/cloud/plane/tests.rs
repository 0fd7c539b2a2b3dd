use super::*;

fn plane() -> Plane {
    let devices = vec![DeviceConfig::new("gw", "plant", "a-key")];
    Plane::new(&CloudConfig::new("plant", "key", devices), 7, 0).unwrap()
}

fn subject(organization: &str, id: &str) -> Subject {
    Subject { common_name: Some(id.to_owned()), organization: Some(organization.to_owned()) }
}

/// The name of the device that comes with this certificate.
fn comes(plane: &mut Plane, id: &str) -> Option<String> {
    let key = plane.key_of_certificate(Duration::ZERO, &subject("plant", id))?;
    Some(plane.devices[&key].name.clone())
}

#[test]
fn a_certificate_finds_its_device_adopts_one_of_its_name_or_makes_one() {
    let mut plane = plane();
    assert_eq!(comes(&mut plane, "gw").as_deref(), Some("gw"), "adopted: it had no certificate");
    let key = plane.key_of("gw").unwrap();
    plane.devices.get_mut(&key).unwrap().name = "renamed".to_owned();
    assert_eq!(comes(&mut plane, "gw").as_deref(), Some("renamed"), "found by its certificate");
    assert_eq!(comes(&mut plane, "new").as_deref(), Some("new"));
    assert_eq!(comes(&mut plane, "new").as_deref(), Some("new"));
    assert_eq!(plane.devices.len(), 2);
}

#[test]
fn a_name_that_belongs_to_another_certificate_is_not_taken_over() {
    let mut plane = plane();
    comes(&mut plane, "a");
    let key = plane.key_of("a").unwrap();
    plane.devices.get_mut(&key).unwrap().name = "b".to_owned();
    let other = comes(&mut plane, "b").unwrap();
    assert!(other.starts_with("b-") && other.len() > 2, "{other}");
    assert_eq!(plane.devices[&key].certificate.as_deref(), Some("a"), "a certificate id stays");
    assert!(plane.key_of_certificate(Duration::ZERO, &subject("another", "a")).is_none());
}
