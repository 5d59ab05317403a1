// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title One event for every change of policy
/// @notice Both contracts emit {PolicyChanged} directly after the event that names the change, so that one
/// filter follows the whole policy and an auditor can rebuild the lists from logs alone.
interface IPolicyLog {
    /// @notice A rule was added, removed or set.
    /// @param actor Who called; the KMS contract itself while it deploys an app through its factory.
    /// @param policy keccak256 of the rule's label, see {PolicyLabels}.
    /// @param value What the rule is about: a hash as it is, an address left-padded with zeros, keccak256 of
    /// a text or key, or 0 where the rule is a switch.
    /// @param enabled True when the value was added or set, or the switch turned on; false for the opposite.
    event PolicyChanged(address indexed actor, bytes32 indexed policy, bytes32 indexed value, bool enabled);
}
