// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {PolicyLabels} from "../PolicyLog.sol";
import {AppPolicies, AppPolicy, TcbStatuses} from "./AppPolicies.sol";
import {GovernedState} from "./GovernedState.sol";

/// @title What an app's policy consists of, in its slots, and what that means at a time
/// @dev One contract declares all variables, so that their order is read in one place and not off an inheritance
/// graph. A word that dstack left at zero must mean what it meant to dstack, hence "denied" masks instead of
/// "allowed" ones.
///
/// | slot | variable |
/// |---|---|
/// | 0 | versions by compose hash; byte 0 of an entry is dstack's `allowedComposeHashes` |
/// | 1 | upgradesDisabled (byte 0), allowAnyDevice (byte 1), then ours |
/// | 2 | allowedDeviceIds |
/// | 3 | requireTcbUpToDate (byte 0), then ours |
/// | 4 | compose hashes by version |
/// | 5 | notes by compose hash |
/// | 6 | toleratedAdvisories |
/// | 7–52 | gap |
///
/// Owner, pending owner and initializer version live in OpenZeppelin's ERC-7201 namespaces, delay, guardian and
/// pending changes in `bylaw.storage.Governed`.
///
/// A version is allowed at a time when it was added, its time has come, it has not ended, was not removed and was
/// not retired. Removing is dstack's way: adding it again makes it a new version. Retiring is for good.
abstract contract AppState is GovernedState {
    /// @param listed dstack's whole entry. Ours: it was added, its time came, and it was not removed since.
    /// @param retired It never boots again.
    /// @param number Its place in the order; 0 if it was allowed before there were versions.
    /// @param activatesAt When its time comes or came, Unix seconds.
    /// @param expiresAt When it ends; 0 for never.
    /// @param successor Number of the version that retires it in the moment that one takes effect; 0 for none.
    struct Version {
        bool listed;
        bool retired;
        uint32 number;
        uint64 activatesAt;
        uint64 expiresAt;
        uint32 successor;
    }

    struct Flags {
        bool upgradesDisabled;
        bool allowAnyDevice;
        bool paused;
        bool versionsFrozen;
        uint32 versionCount;
        uint32 minVersion;
    }

    struct Demands {
        bool requireTcbUpToDate;
        // A policy was scheduled and not applied yet. May be true without reason, never false without.
        bool mayChange;
        uint8 teeVariantsDenied;
        uint16 tcbStatusesDenied;
        uint32 tcbGracePeriod;
        uint32 maxStateAge;
        bool requireGpu;
        bool judgeAdvisories;
    }

    mapping(bytes32 composeHash => Version) internal _versions;

    Flags internal _flags;

    mapping(bytes32 deviceId => bool) internal _devices;

    Demands internal _demands;

    bytes32[] internal _composeHashes;

    mapping(bytes32 composeHash => string) internal _notes;

    mapping(bytes32 advisory => bool) internal _advisories;

    /// @dev Room for later versions: a new variable takes slots from the front of it.
    uint256[46] private __gap;

    // ------------------------------------------------------------ reading

    enum Standing {
        Unknown,
        Active,
        Pending,
        Expired,
        Retired,
        Removed
    }

    /// @dev Why the version may run at that time, or why not.
    function _standing(bytes32 composeHash, uint64 time) internal view returns (Standing) {
        Version memory version = _versions[composeHash];
        bool isNumbered = version.number != 0;
        if (version.retired) return Standing.Retired;
        if (version.successor != 0 && _isToRetire(version.successor, composeHash, time)) {
            return Standing.Retired;
        }
        if (!version.listed && !isNumbered) return Standing.Unknown;
        if (version.number < _flags.minVersion) return Standing.Retired;
        if (!version.listed && !_isMaturing(composeHash, time)) {
            bytes32 id = _id(PolicyLabels.COMPOSE_HASH, composeHash);
            return _change(id).activatesAt == 0 ? Standing.Removed : Standing.Pending;
        }
        if (version.expiresAt != 0 && time >= version.expiresAt) return Standing.Expired;
        return Standing.Active;
    }

    /// @dev Whether that version waits, or has just stopped waiting, to retire this one.
    function _isToRetire(uint32 successor, bytes32 composeHash, uint64 time) internal view returns (bool) {
        bytes32 id = _id(PolicyLabels.COMPOSE_HASH, _composeHashes[successor - 1]);
        return _matured(id, time) && abi.decode(_change(id).data, (bytes32)) == composeHash;
    }

    /// @dev Without what waits.
    function _stored() internal view returns (AppPolicy memory) {
        Demands memory demands = _demands;
        return AppPolicy({
            allowAnyDevice: _flags.allowAnyDevice,
            teeVariants: ~demands.teeVariantsDenied,
            tcbStatuses: demands.requireTcbUpToDate ? TcbStatuses.UP_TO_DATE : ~demands.tcbStatusesDenied,
            tcbGracePeriod: demands.tcbGracePeriod,
            anyAdvisory: !demands.judgeAdvisories,
            maxStateAge: demands.maxStateAge,
            requireGpu: demands.requireGpu
        });
    }

    function _policyAt(uint64 time) internal view returns (AppPolicy memory) {
        if (_demands.mayChange) {
            bytes32 id = _id(PolicyLabels.POLICY, 0);
            if (_matured(id, time)) return AppPolicies.unpack(_change(id).value);
        }
        return _stored();
    }

    /// @dev False: every TCB status, platform, advisory and age will do, and nothing of that waits to change.
    function _demandsAnything() internal view returns (bool anything) {
        assembly {
            anything := iszero(iszero(sload(_demands.slot)))
        }
    }

    function _requiresUpToDate(AppPolicy memory current) internal pure returns (bool) {
        return current.tcbStatuses == TcbStatuses.UP_TO_DATE && current.tcbGracePeriod == 0;
    }

    function _isDeviceListed(bytes32 deviceId, uint64 time) internal view returns (bool) {
        return _devices[deviceId] || _matured(_id(PolicyLabels.DEVICE, deviceId), time);
    }

    function _isTolerated(bytes32 advisory, uint64 time) internal view returns (bool) {
        return _advisories[advisory] || _matured(_id(PolicyLabels.ADVISORY, advisory), time);
    }

    function _isPaused(uint64 time) internal view returns (bool) {
        return _flags.paused && !_matured(_id(PolicyLabels.UNPAUSED, 0), time);
    }

    function _isMaturing(bytes32 composeHash, uint64 time) private view returns (bool) {
        return _matured(_id(PolicyLabels.COMPOSE_HASH, composeHash), time);
    }
}
