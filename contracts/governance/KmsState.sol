// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";

import {IKmsTypes} from "../interfaces/IKmsTypes.sol";
import {PolicyLabels} from "../PolicyLog.sol";
import {GovernedState} from "./GovernedState.sol";

/// @title What the policy of a KMS consists of, in its slots, and what that means at a time
/// @dev One contract declares all variables, so that their order is read in one place and not off an inheritance
/// graph. A word that dstack left at zero must mean what it meant to dstack.
///
/// | slot | variable |
/// |---|---|
/// | 0–3 | kmsInfo |
/// | 4 | gatewayAppId |
/// | 5 | apps; byte 0 of an entry is dstack's `registeredApps` |
/// | 6 | kmsAllowedAggregatedMrs |
/// | 7 | kmsAllowedDeviceIds |
/// | 8 | allowedOsImages |
/// | 9 | appImplementation, then (byte 20) upgradesDisabled, (byte 21) gatewayWithdrawn |
/// | 10–11 | ids of the KMS nodes |
/// | 12 | KMS nodes |
/// | 13–59 | gap |
///
/// Owner, pending owner and initializer version live in OpenZeppelin's ERC-7201 namespaces, delay, guardian and
/// pending changes in `bylaw.storage.Governed`.
abstract contract KmsState is IKmsTypes, GovernedState {
    /// @param registered dstack's whole entry: it may ask for keys.
    /// @param deregistered Only the owner can register it again.
    /// @param paused It gets no keys for now.
    struct App {
        bool registered;
        bool deregistered;
        bool paused;
    }

    KmsInfo internal _kmsInfo;

    string internal _gatewayAppId;

    mapping(address appId => App) internal _apps;

    mapping(bytes32 mrAggregated => bool) internal _kmsMrs;

    mapping(bytes32 deviceId => bool) internal _kmsDevices;

    mapping(bytes32 osImageHash => bool) internal _osImages;

    address internal _appImplementation;

    bool internal _upgradesDisabled;

    /// @dev A gateway was named and withdrawn: the next one is another one.
    bool internal _gatewayWithdrawn;

    EnumerableSet.Bytes32Set internal _nodeIds;

    mapping(bytes32 nodeId => KmsNode) internal _nodes;

    /// @dev Room for later versions: a new variable takes slots from the front of it.
    uint256[47] private __gap;

    // ------------------------------------------------------------ reading

    function _currentAppImplementation() internal view returns (address) {
        bytes32 id = _id(PolicyLabels.APP_IMPLEMENTATION, 0);
        return _matured(id, _now()) ? _address(_change(id).value) : _appImplementation;
    }

    function _isRegistered(address appId, uint64 time) internal view returns (bool) {
        return _apps[appId].registered
            || _matured(_id(PolicyLabels.REGISTERED_APP, bytes32(uint256(uint160(appId)))), time);
    }

    function _isAppPaused(address appId, uint64 time) internal view returns (bool) {
        return _apps[appId].paused
            && !_matured(_id(PolicyLabels.APP_UNPAUSED, bytes32(uint256(uint160(appId)))), time);
    }

    function _holds(bytes32 label, bool isListed, bytes32 value, uint64 time) internal view returns (bool) {
        return isListed || _matured(_id(label, value), time);
    }

    function _isImageAllowed(bytes32 osImageHash, uint64 time) internal view returns (bool) {
        return _holds(PolicyLabels.OS_IMAGE, _osImages[osImageHash], osImageHash, time);
    }
}
