//! First process of the guest: opens the verified root and hands over.
