//! The guest image a VM boots.

use crate::output::Failure;
use crate::vmm::Vmm;

/// The image of this name; without one, the node's only one that is for production.
pub(crate) async fn choose(vmm: &Vmm, wanted: Option<&str>) -> Result<String, Failure> {
    let images = vmm.images().await?.images;
    let all: Vec<(&str, bool)> = images
        .iter()
        .map(|image| (image.name.as_str(), image.is_dev))
        .collect();
    pick(&all, wanted)
}

fn pick(images: &[(&str, bool)], wanted: Option<&str>) -> Result<String, Failure> {
    let names: Vec<&str> = images.iter().map(|(name, _)| *name).collect();
    let listed = if names.is_empty() {
        "the node has no image: put one into its image folder, or pull one".to_owned()
    } else {
        format!("the node has {}", names.join(", "))
    };
    if let Some(wanted) = wanted {
        return match names.contains(&wanted) {
            true => Ok(wanted.to_owned()),
            false => Err(Failure::Unusable(format!("no image {wanted:?}; {listed}"))),
        };
    }
    let mut production = images.iter().filter(|(_, is_dev)| !is_dev);
    match (production.next(), production.next()) {
        (Some((only, _)), None) => Ok((*only).to_owned()),
        _ => Err(Failure::Unusable(format!("choose with --image: {listed}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_never_chosen_by_luck() {
        let one = [("bylaw-0.1", false), ("bylaw-0.1-dev", true)];
        assert_eq!(pick(&one, None).unwrap(), "bylaw-0.1");
        assert_eq!(pick(&one, Some("bylaw-0.1-dev")).unwrap(), "bylaw-0.1-dev");
        for (images, wanted) in [
            (&[][..], None),
            (&[("a-dev", true)], None),
            (&[("a", false), ("b", false)], None),
            (&one, Some("other")),
        ] {
            assert!(
                matches!(pick(images, wanted), Err(Failure::Unusable(_))),
                "{images:?}"
            );
        }
    }
}
