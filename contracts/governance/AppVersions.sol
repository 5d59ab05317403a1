// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppAuthBasicManagement} from "../interfaces/IAppAuthBasicManagement.sol";
import {IAppManagement} from "../interfaces/IAppManagement.sol";
import {PolicyLabels} from "../PolicyLog.sol";
import {AppState} from "./AppState.sol";
import {Governed} from "./Governed.sol";

/// @title Adding and ending an app's versions
abstract contract AppVersions is AppState, Governed, IAppManagement {
    // ------------------------------------------------------------ adding

    /// @inheritdoc IAppAuthBasicManagement
    function addComposeHash(bytes32 composeHash) external onlyOwner {
        _settle();
        Standing standing = _standing(composeHash, _now());
        // dstack's call succeeds, and says so, when there is nothing to do.
        if (standing == Standing.Active && _versions[composeHash].expiresAt == 0) {
            _announce(composeHash);
        } else if (standing != Standing.Pending) {
            _addVersion(composeHash, 0, 0, 0, "");
        }
    }

    /// @inheritdoc IAppManagement
    function addVersion(bytes32 composeHash, uint64 notBefore, uint64 expiresAt, string calldata noteUri)
        external
        onlyOwner
    {
        _settle();
        _addVersion(composeHash, notBefore, expiresAt, 0, noteUri);
    }

    /// @inheritdoc IAppManagement
    function supersede(
        bytes32 oldComposeHash,
        bytes32 newComposeHash,
        uint64 expiresAt,
        string calldata noteUri
    ) external onlyOwner {
        _settle();
        if (oldComposeHash == newComposeHash) revert SupersedesItself(newComposeHash);
        // In a pending change, zero stands for none.
        if (oldComposeHash == bytes32(0) || !_versions[oldComposeHash].listed) {
            revert UnknownVersion(oldComposeHash);
        }
        uint32 successor = _versions[oldComposeHash].successor;
        if (successor != 0 && _isToRetire(successor, oldComposeHash, type(uint64).max)) {
            revert AlreadySuperseded(successor);
        }
        if (_standing(oldComposeHash, _now()) == Standing.Retired) {
            revert VersionIsRetired(_versions[oldComposeHash].number, oldComposeHash);
        }
        _addVersion(newComposeHash, 0, expiresAt, oldComposeHash, noteUri);
    }

    // ------------------------------------------------------------ ending

    /// @inheritdoc IAppAuthBasicManagement
    function removeComposeHash(bytes32 composeHash) external onlyOwner {
        _settle();
        _drop(_id(PolicyLabels.COMPOSE_HASH, composeHash));
        // What has no number is known to be below the minimum only as long as it is listed.
        if (_standing(composeHash, _now()) == Standing.Retired) _versions[composeHash].retired = true;
        _versions[composeHash].listed = false;
        emit ComposeHashRemoved(composeHash);
        _recordPolicy(PolicyLabels.COMPOSE_HASH, composeHash, false);
    }

    /// @inheritdoc IAppManagement
    function retire(bytes32 composeHash) external onlyOwner {
        _settle();
        Version storage version = _versions[composeHash];
        if (!version.listed && version.number == 0) revert UnknownVersion(composeHash);
        _drop(_id(PolicyLabels.COMPOSE_HASH, composeHash));
        _retire(composeHash);
    }

    /// @inheritdoc IAppManagement
    function setVersionExpiry(bytes32 composeHash, uint64 expiresAt) external onlyOwner {
        _settle();
        Version storage version = _versions[composeHash];
        if (!version.listed && version.number == 0) revert UnknownVersion(composeHash);
        bool isEarlier = expiresAt != 0 && (version.expiresAt == 0 || expiresAt <= version.expiresAt);
        if (!isEarlier || expiresAt <= version.activatesAt) revert BadExpiry(expiresAt);
        version.expiresAt = expiresAt;
        emit VersionExpirySet(version.number, composeHash, expiresAt);
        _recordPolicy(PolicyLabels.VERSION_EXPIRY, composeHash, true);
    }

    /// @inheritdoc IAppManagement
    function setMinVersion(uint32 number) external onlyOwner {
        _settle();
        if (number < _flags.minVersion || number > _flags.versionCount + 1) {
            revert BadMinVersion(number, _flags.minVersion, _flags.versionCount);
        }
        _dropVersionsBefore(number);
        _flags.minVersion = number;
        emit MinVersionSet(number);
        _recordPolicy(PolicyLabels.MIN_VERSION, bytes32(uint256(number)), true);
    }

    /// @inheritdoc IAppManagement
    function freezeVersions() external onlyOwner {
        _settle();
        _dropAll(PolicyLabels.COMPOSE_HASH);
        _flags.versionsFrozen = true;
        emit VersionsFrozen();
        _recordPolicy(PolicyLabels.VERSIONS_FROZEN, bytes32(0), true);
    }

    // ------------------------------------------------------------ for the inheriting contracts

    /// @dev Gives the version its number and lets it take effect, now or later.
    function _addVersion(
        bytes32 composeHash,
        uint64 notBefore,
        uint64 expiresAt,
        bytes32 superseded,
        string memory noteUri
    ) internal {
        if (_flags.versionsFrozen) revert VersionListIsFrozen();
        Version storage version = _versions[composeHash];
        Standing standing = _standing(composeHash, _now());
        if (standing == Standing.Retired) revert VersionIsRetired(version.number, composeHash);
        if (standing == Standing.Active || standing == Standing.Pending) {
            revert VersionExists(version.number, composeHash);
        }
        uint32 number = ++_flags.versionCount;
        _composeHashes.push(composeHash);
        uint64 activatesAt = _now() + _delay();
        if (notBefore > activatesAt) activatesAt = notBefore;
        if (expiresAt != 0 && expiresAt <= activatesAt) revert BadExpiry(expiresAt);
        // A version that waits to retire this one still does.
        _versions[composeHash] = Version(false, false, number, activatesAt, expiresAt, version.successor);
        if (bytes(noteUri).length != 0 || bytes(_notes[composeHash]).length != 0) {
            _notes[composeHash] = noteUri;
        }
        if (superseded != bytes32(0)) _versions[superseded].successor = number;
        _widen(PolicyLabels.COMPOSE_HASH, composeHash, composeHash, abi.encode(superseded), notBefore);
        emit VersionAdded(number, composeHash, activatesAt, expiresAt, noteUri);
    }

    /// @dev A version's time has come.
    function _applyVersion(bytes32 composeHash, bytes memory data) internal {
        _versions[composeHash].listed = true;
        _announce(composeHash);
        bytes32 superseded = abi.decode(data, (bytes32));
        if (superseded != bytes32(0)) _retire(superseded);
    }

    // ------------------------------------------------------------ private

    /// @dev What waits and would be retired when its time came.
    function _dropVersionsBefore(uint32 number) private {
        bytes32[] memory ids = _pendingIds();
        for (uint256 i = 0; i < ids.length; i++) {
            Change storage change = _change(ids[i]);
            if (change.policy != PolicyLabels.COMPOSE_HASH) continue;
            if (_versions[change.value].number < number) _drop(ids[i]);
        }
    }

    function _announce(bytes32 composeHash) private {
        emit ComposeHashAdded(composeHash);
        _recordPolicy(PolicyLabels.COMPOSE_HASH, composeHash, true);
    }

    function _retire(bytes32 composeHash) private {
        Version storage version = _versions[composeHash];
        version.retired = true;
        emit VersionRetired(version.number, composeHash);
        _recordPolicy(PolicyLabels.RETIRED, composeHash, true);
    }
}

