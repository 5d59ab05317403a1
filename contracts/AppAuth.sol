// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {
    ERC165Upgradeable
} from "@openzeppelin/contracts-upgradeable/utils/introspection/ERC165Upgradeable.sol";

import {IAppAuth} from "./interfaces/IAppAuth.sol";
import {IAppAuthBasicManagement} from "./interfaces/IAppAuthBasicManagement.sol";
import {IManagedAppAuth} from "./interfaces/IManagedAppAuth.sol";
import {PolicyLabels, PolicyLog} from "./PolicyLog.sol";

/// @title The policy of one app
/// @notice Its address is the app's id. The owner lists the compose hashes that may run and the devices they
/// may run on; whether the app is registered and the OS image trusted was the KMS contract's question before.
/// @dev ABI and storage are those of dstack's `DstackApp`, so existing tools work unchanged and an existing
/// proxy can be upgraded to this implementation. Storage is therefore sequential, in this order and no other:
///
/// | slot | variable |
/// |---|---|
/// | 0 | allowedComposeHashes |
/// | 1 | _upgradesDisabled (byte 0), allowAnyDevice (byte 1) |
/// | 2 | allowedDeviceIds |
/// | 3 | requireTcbUpToDate (byte 0) |
/// | 4–52 | gap |
///
/// Owner, pending owner and initializer version live in OpenZeppelin's ERC-7201 namespaces.
contract AppAuth is
    Initializable,
    Ownable2StepUpgradeable,
    UUPSUpgradeable,
    ERC165Upgradeable,
    PolicyLog,
    IManagedAppAuth
{
    /// @inheritdoc IManagedAppAuth
    mapping(bytes32 composeHash => bool) public allowedComposeHashes;

    bool private _upgradesDisabled;

    /// @inheritdoc IManagedAppAuth
    bool public allowAnyDevice;

    /// @inheritdoc IManagedAppAuth
    mapping(bytes32 deviceId => bool) public allowedDeviceIds;

    /// @inheritdoc IManagedAppAuth
    bool public requireTcbUpToDate;

    /// @dev Room for later versions: a new variable takes slots from the front of it.
    uint256[49] private __gap;

    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor() {
        _disableInitializers();
    }

    /// @inheritdoc IManagedAppAuth
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

    /// @inheritdoc IManagedAppAuth
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

    /// @inheritdoc IAppAuthBasicManagement
    function addComposeHash(bytes32 composeHash) external onlyOwner {
        _addComposeHash(composeHash);
    }

    /// @inheritdoc IAppAuthBasicManagement
    function removeComposeHash(bytes32 composeHash) external onlyOwner {
        allowedComposeHashes[composeHash] = false;
        emit ComposeHashRemoved(composeHash);
        _recordPolicy(PolicyLabels.COMPOSE_HASH, composeHash, false);
    }

    /// @inheritdoc IAppAuthBasicManagement
    function addDevice(bytes32 deviceId) external onlyOwner {
        _addDevice(deviceId);
    }

    /// @inheritdoc IAppAuthBasicManagement
    function removeDevice(bytes32 deviceId) external onlyOwner {
        allowedDeviceIds[deviceId] = false;
        emit DeviceRemoved(deviceId);
        _recordPolicy(PolicyLabels.DEVICE, deviceId, false);
    }

    /// @inheritdoc IManagedAppAuth
    function setAllowAnyDevice(bool allowAnyDevice_) external onlyOwner {
        allowAnyDevice = allowAnyDevice_;
        emit AllowAnyDeviceSet(allowAnyDevice_);
        _recordPolicy(PolicyLabels.ALLOW_ANY_DEVICE, bytes32(0), allowAnyDevice_);
    }

    /// @inheritdoc IManagedAppAuth
    function setRequireTcbUpToDate(bool requireTcbUpToDate_) external onlyOwner {
        requireTcbUpToDate = requireTcbUpToDate_;
        emit RequireTcbUpToDateSet(requireTcbUpToDate_);
        _recordPolicy(PolicyLabels.REQUIRE_TCB_UP_TO_DATE, bytes32(0), requireTcbUpToDate_);
    }

    /// @inheritdoc IManagedAppAuth
    function disableUpgrades() external onlyOwner {
        _upgradesDisabled = true;
        emit UpgradesDisabled();
        _recordPolicy(PolicyLabels.UPGRADES_DISABLED, bytes32(0), true);
    }

    /// @inheritdoc IAppAuth
    /// @dev Looks at the TCB status, the compose hash and the device; the first rule that fails is the reason.
    function isAppAllowed(AppBootInfo calldata bootInfo)
        external
        view
        returns (bool isAllowed, string memory reason)
    {
        if (requireTcbUpToDate && !_isUpToDate(bootInfo.tcbStatus)) {
            return (false, TCB_NOT_UP_TO_DATE);
        }
        if (!allowedComposeHashes[bootInfo.composeHash]) {
            return (false, "Compose hash not allowed");
        }
        if (!allowAnyDevice && !allowedDeviceIds[bootInfo.deviceId]) {
            return (false, "Device not allowed");
        }
        return (true, "");
    }

    /// @inheritdoc IManagedAppAuth
    function version() external pure returns (uint256) {
        return 2;
    }

    /// @inheritdoc ERC165Upgradeable
    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IAppAuth).interfaceId
            || interfaceId == type(IAppAuthBasicManagement).interfaceId
            || super.supportsInterface(interfaceId);
    }

    function _initialize(
        address initialOwner,
        bool disableUpgrades_,
        bool requireTcbUpToDate_,
        bool allowAnyDevice_,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) private onlyInitializing {
        require(initialOwner != address(0), "invalid owner address");
        __Ownable_init(initialOwner);

        _upgradesDisabled = disableUpgrades_;
        requireTcbUpToDate = requireTcbUpToDate_;
        allowAnyDevice = allowAnyDevice_;
        if (initialDeviceId != bytes32(0)) _addDevice(initialDeviceId);
        if (initialComposeHash != bytes32(0)) _addComposeHash(initialComposeHash);
    }

    function _addComposeHash(bytes32 composeHash) private {
        allowedComposeHashes[composeHash] = true;
        emit ComposeHashAdded(composeHash);
        _recordPolicy(PolicyLabels.COMPOSE_HASH, composeHash, true);
    }

    function _addDevice(bytes32 deviceId) private {
        allowedDeviceIds[deviceId] = true;
        emit DeviceAdded(deviceId);
        _recordPolicy(PolicyLabels.DEVICE, deviceId, true);
    }

    /// @dev OpenZeppelin emits `Upgraded` when this has passed.
    function _authorizeUpgrade(address newImplementation) internal override onlyOwner {
        require(!_upgradesDisabled, "Upgrades are permanently disabled");
        _recordPolicy(PolicyLabels.IMPLEMENTATION_UPGRADE, newImplementation);
    }
}
