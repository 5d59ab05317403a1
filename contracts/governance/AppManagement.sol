// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppAuthBasicManagement} from "../interfaces/IAppAuthBasicManagement.sol";
import {IAppManagement} from "../interfaces/IAppManagement.sol";
import {PolicyLabels} from "../PolicyLog.sol";
import {AppPolicies, AppPolicy, TcbStatuses} from "./AppPolicies.sol";
import {AppVersions} from "./AppVersions.sol";
import {Governed} from "./Governed.sol";

/// @title The part of {AppAuth} that changes the policy
/// @dev {AppAuth} calls it by delegatecall: it works on the proxy's storage.
contract AppManagement is AppVersions {
    using AppPolicies for AppPolicy;

    constructor() {
        _disableInitializers();
    }

    /// @inheritdoc IAppManagement
    function initialize(
        address initialOwner,
        bool disableUpgrades_,
        bool allowAnyDevice_,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external initializer {
        _initialize(
            initialOwner, disableUpgrades_, false, allowAnyDevice_, initialDeviceId, initialComposeHash
        );
    }

    /// @inheritdoc IAppManagement
    function initialize(
        address initialOwner,
        bool disableUpgrades_,
        bool requireTcbUpToDate_,
        bool allowAnyDevice_,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external initializer {
        _initialize(
            initialOwner,
            disableUpgrades_,
            requireTcbUpToDate_,
            allowAnyDevice_,
            initialDeviceId,
            initialComposeHash
        );
    }

    /// @inheritdoc IAppManagement
    function initialize(AppConfig calldata config) external initializer {
        _initializeOwner(config.owner);
        _flags.upgradesDisabled = config.upgradesDisabled;
        _writePolicy(config.policy);
        for (uint256 i = 0; i < config.devices.length; i++) {
            _writeDevice(config.devices[i], true);
        }
        if (config.composeHash != bytes32(0)) _addVersion(config.composeHash, 0, 0, 0, config.noteUri);
        // Last: what is set up here does not wait.
        _initializeGovernance(config.delay, config.guardian);
    }

    /// @inheritdoc IAppManagement
    function disableUpgrades() external onlyOwner {
        _settle();
        _dropAll(PolicyLabels.IMPLEMENTATION_UPGRADE);
        _flags.upgradesDisabled = true;
        emit UpgradesDisabled();
        _recordPolicy(PolicyLabels.UPGRADES_DISABLED, bytes32(0), true);
    }

    // ------------------------------------------------------------ devices

    /// @inheritdoc IAppAuthBasicManagement
    function addDevice(bytes32 deviceId) external onlyOwner {
        _settle();
        if (_devices[deviceId]) _writeDevice(deviceId, true);
        else _widen(PolicyLabels.DEVICE, deviceId);
    }

    /// @inheritdoc IAppAuthBasicManagement
    function removeDevice(bytes32 deviceId) external onlyOwner {
        _settle();
        _drop(_id(PolicyLabels.DEVICE, deviceId));
        _writeDevice(deviceId, false);
    }

    // ------------------------------------------------------------ policy

    /// @inheritdoc IAppManagement
    function setPolicy(AppPolicy calldata next) external onlyOwner {
        _settle();
        _setPolicy(next);
    }

    /// @inheritdoc IAppManagement
    function setAllowAnyDevice(bool allowAnyDevice_) external onlyOwner {
        _settle();
        bool changes = _flags.allowAnyDevice != allowAnyDevice_;
        AppPolicy memory next = _intended();
        next.allowAnyDevice = allowAnyDevice_;
        _setPolicy(next);
        // dstack's call says what holds, also when that is nothing new.
        if (!changes) _announceAnyDevice(allowAnyDevice_);
    }

    /// @inheritdoc IAppManagement
    function setRequireTcbUpToDate(bool requireTcbUpToDate_) external onlyOwner {
        _settle();
        bool changes = _requiresUpToDate(_stored()) != requireTcbUpToDate_;
        AppPolicy memory next = _intended();
        next.tcbStatuses = requireTcbUpToDate_ ? TcbStatuses.UP_TO_DATE : TcbStatuses.ALL;
        if (requireTcbUpToDate_) next.tcbGracePeriod = 0;
        _setPolicy(next);
        if (!changes) _announceUpToDate(requireTcbUpToDate_);
    }

    /// @inheritdoc IAppManagement
    function setAdvisoryTolerated(bytes32 advisory, bool tolerated) external onlyOwner {
        _settle();
        if (tolerated && !_advisories[advisory]) {
            _widen(PolicyLabels.ADVISORY, advisory);
        } else {
            _drop(_id(PolicyLabels.ADVISORY, advisory));
            _writeAdvisory(advisory, tolerated);
        }
    }

    // ------------------------------------------------------------ pause

    /// @inheritdoc IAppManagement
    function pause() external onlyOwnerOrGuardian {
        _settle();
        _drop(_id(PolicyLabels.UNPAUSED, 0));
        _flags.paused = true;
        emit AppPaused(msg.sender);
        _recordPolicy(PolicyLabels.PAUSED, bytes32(0), true);
    }

    /// @inheritdoc IAppManagement
    function unpause() external onlyOwner {
        _settle();
        _widen(PolicyLabels.UNPAUSED, 0, "");
    }

    // ------------------------------------------------------------ private

    function _initialize(
        address initialOwner,
        bool disableUpgrades_,
        bool requireTcbUpToDate_,
        bool allowAnyDevice_,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) private onlyInitializing {
        _initializeOwner(initialOwner);
        _flags.upgradesDisabled = disableUpgrades_;
        _flags.allowAnyDevice = allowAnyDevice_;
        _demands.requireTcbUpToDate = requireTcbUpToDate_;
        if (initialDeviceId != bytes32(0)) _writeDevice(initialDeviceId, true);
        if (initialComposeHash != bytes32(0)) _addVersion(initialComposeHash, 0, 0, 0, "");
    }

    function _initializeOwner(address initialOwner) private onlyInitializing {
        require(initialOwner != address(0), "invalid owner address");
        __Ownable_init(initialOwner);
    }

    /// @inheritdoc Governed
    function _apply(bytes32 label, bytes32 value, bytes memory data) internal override {
        if (label == PolicyLabels.COMPOSE_HASH) _applyVersion(value, data);
        else if (label == PolicyLabels.DEVICE) _writeDevice(value, true);
        else if (label == PolicyLabels.POLICY) _writePolicy(AppPolicies.unpack(value));
        else if (label == PolicyLabels.ADVISORY) _writeAdvisory(value, true);
        else if (label == PolicyLabels.UNPAUSED) _unpause();
        else super._apply(label, value, data);
    }

    function _checkUpgradable() internal view override {
        require(!_flags.upgradesDisabled, "Upgrades are permanently disabled");
    }

    function _writeDevice(bytes32 deviceId, bool listed) private {
        _devices[deviceId] = listed;
        if (listed) emit DeviceAdded(deviceId);
        else emit DeviceRemoved(deviceId);
        _recordPolicy(PolicyLabels.DEVICE, deviceId, listed);
    }

    function _writeAdvisory(bytes32 advisory, bool tolerated) private {
        _advisories[advisory] = tolerated;
        emit AdvisoryToleranceSet(advisory, tolerated);
        _recordPolicy(PolicyLabels.ADVISORY, advisory, tolerated);
    }

    /// @dev Says what is new, for what dstack had an event for with that event.
    function _writePolicy(AppPolicy memory next) private {
        AppPolicy memory before = _stored();
        _flags.allowAnyDevice = next.allowAnyDevice;
        _demands = Demands({
            requireTcbUpToDate: next.tcbStatuses == TcbStatuses.UP_TO_DATE,
            mayChange: false,
            teeVariantsDenied: ~next.teeVariants,
            tcbStatusesDenied: ~next.tcbStatuses,
            tcbGracePeriod: next.tcbGracePeriod,
            maxStateAge: next.maxStateAge,
            requireGpu: next.requireGpu,
            judgeAdvisories: !next.anyAdvisory
        });
        if (before.allowAnyDevice != next.allowAnyDevice) _announceAnyDevice(next.allowAnyDevice);
        bool upToDate = _requiresUpToDate(next);
        if (_requiresUpToDate(before) != upToDate) {
            _announceUpToDate(upToDate);
            // Said in full, unless it is a rule that dstack could not have.
            if (upToDate || next.tcbStatuses == TcbStatuses.ALL) {
                before.tcbStatuses = next.tcbStatuses;
                before.tcbGracePeriod = next.tcbGracePeriod;
            }
        }
        before.allowAnyDevice = next.allowAnyDevice;
        if (before.equals(next)) return;
        emit PolicySet(next);
        _recordPolicy(PolicyLabels.POLICY, next.pack(), true);
    }

    function _unpause() private {
        _flags.paused = false;
        emit AppUnpaused();
        _recordPolicy(PolicyLabels.UNPAUSED, bytes32(0), true);
    }

    /// @dev What is stricter than the present holds at once; what is looser waits.
    function _setPolicy(AppPolicy memory next) private {
        AppPolicy memory current = _stored();
        AppPolicy memory stricter = current.meet(next);
        if (!stricter.equals(current)) _writePolicy(stricter);
        if (stricter.equals(next)) {
            _drop(_id(PolicyLabels.POLICY, 0));
        } else {
            _demands.mayChange = true;
            _widen(PolicyLabels.POLICY, next.pack(), "");
        }
    }

    /// @dev What the owner wants in the end: the policy that waits, else the present one.
    function _intended() private view returns (AppPolicy memory) {
        bytes32 id = _id(PolicyLabels.POLICY, 0);
        return _change(id).activatesAt == 0 ? _stored() : AppPolicies.unpack(_change(id).value);
    }

    function _announceAnyDevice(bool allowAnyDevice_) private {
        emit AllowAnyDeviceSet(allowAnyDevice_);
        _recordPolicy(PolicyLabels.ALLOW_ANY_DEVICE, bytes32(0), allowAnyDevice_);
    }

    function _announceUpToDate(bool requireTcbUpToDate_) private {
        emit RequireTcbUpToDateSet(requireTcbUpToDate_);
        _recordPolicy(PolicyLabels.REQUIRE_TCB_UP_TO_DATE, bytes32(0), requireTcbUpToDate_);
    }
}
