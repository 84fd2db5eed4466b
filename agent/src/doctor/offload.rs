//! SAs that a network card encrypts by itself.

use super::Finding;

/// One of them, with packet offload: the whole of IPsec on the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sa {
    /// The card's device.
    pub device: String,
    /// In host byte order.
    pub spi: u32,
}

/// The card chooses SAs by addresses: it knows neither marks nor if_ids.
pub fn findings(sas: &[Sa]) -> Vec<Finding> {
    sas.iter()
        .map(|Sa { device, spi }| {
            let problem = format!(
                "SA {spi:#010x} is offloaded to {device} as a whole: the card knows neither marks nor if_ids, so lanes beside it \
                 may take its way"
            );
            let cure = "set hw_offload = no, or crypto, in its child of swanctl.conf and load it again";
            Finding::advise("offload", problem, cure)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::said;
    use super::*;

    #[test]
    fn an_sa_on_a_card_is_said() {
        assert_eq!(
            said(&findings(&[Sa { device: "eth0".into(), spi: 0xc000_0001 }])),
            [
                "SA 0xc0000001 is offloaded to eth0 as a whole: the card knows neither marks nor if_ids, so lanes beside it may take \
              its way -> set hw_offload = no, or crypto, in its child of swanctl.conf and load it again"
            ]
        );
    }
}
