// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {
    ERC165Upgradeable
} from "@openzeppelin/contracts-upgradeable/utils/introspection/ERC165Upgradeable.sol";

import {IAppAuth} from "./interfaces/IAppAuth.sol";
import {IKmsAuth} from "./interfaces/IKmsAuth.sol";
import {PolicyLabels, PolicyLog} from "./PolicyLog.sol";

/// @title The root of trust: which KMS builds, OS images and apps exist
/// @notice A KMS releases keys only to what {isKmsAllowed} or {isAppAllowed} answers true for.
/// @dev ABI and storage are those of dstack's `DstackKms`, so existing tools work unchanged and an existing
/// proxy can be upgraded to this implementation. Storage is therefore sequential, in this order and no other:
///
/// | slot | variable |
/// |---|---|
/// | 0–3 | kmsInfo |
/// | 4 | gatewayAppId |
/// | 5 | registeredApps |
/// | 6 | kmsAllowedAggregatedMrs |
/// | 7 | kmsAllowedDeviceIds |
/// | 8 | allowedOsImages |
/// | 9 | appImplementation |
/// | 10–59 | gap |
///
/// Owner, pending owner and initializer version live in OpenZeppelin's ERC-7201 namespaces.
contract KmsAuth is
    Initializable,
    Ownable2StepUpgradeable,
    UUPSUpgradeable,
    ERC165Upgradeable,
    PolicyLog,
    IKmsAuth
{
    /// @inheritdoc IKmsAuth
    KmsInfo public kmsInfo;

    /// @inheritdoc IKmsAuth
    string public gatewayAppId;

    /// @inheritdoc IKmsAuth
    mapping(address appId => bool) public registeredApps;

    /// @inheritdoc IKmsAuth
    mapping(bytes32 mrAggregated => bool) public kmsAllowedAggregatedMrs;

    /// @inheritdoc IKmsAuth
    mapping(bytes32 deviceId => bool) public kmsAllowedDeviceIds;

    /// @inheritdoc IKmsAuth
    mapping(bytes32 osImageHash => bool) public allowedOsImages;

    /// @inheritdoc IKmsAuth
    address public appImplementation;

    /// @dev Room for later versions: a new variable takes slots from the front of it.
    uint256[50] private __gap;

    string private constant OS_IMAGE_NOT_ALLOWED = "OS image is not allowed";

    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor() {
        _disableInitializers();
    }

    /// @inheritdoc IKmsAuth
    function initialize(address initialOwner, address appImplementation_) external initializer {
        __Ownable_init(initialOwner);
        if (appImplementation_ != address(0)) _setAppImplementation(appImplementation_);
    }

    /// @inheritdoc IKmsAuth
    function setKmsInfo(KmsInfo calldata info) external onlyOwner {
        kmsInfo = info;
        emit KmsInfoSet(info.k256Pubkey);
        _recordPolicy(PolicyLabels.KMS_INFO, keccak256(info.k256Pubkey), true);
    }

    /// @inheritdoc IKmsAuth
    function setKmsQuote(bytes calldata quote) external onlyOwner {
        kmsInfo.quote = quote;
    }

    /// @inheritdoc IKmsAuth
    function setKmsEventlog(bytes calldata eventlog) external onlyOwner {
        kmsInfo.eventlog = eventlog;
    }

    /// @inheritdoc IKmsAuth
    function setGatewayAppId(string calldata appId) external onlyOwner {
        gatewayAppId = appId;
        emit GatewayAppIdSet(appId);
        _recordPolicy(PolicyLabels.GATEWAY_APP_ID, keccak256(bytes(appId)), true);
    }

    /// @inheritdoc IKmsAuth
    function registerApp(address appId) external {
        _registerApp(appId);
    }

    /// @inheritdoc IKmsAuth
    function setAppImplementation(address implementation) external onlyOwner {
        require(implementation != address(0), "Invalid implementation address");
        _setAppImplementation(implementation);
    }

    /// @inheritdoc IKmsAuth
    function deployAndRegisterApp(
        address initialOwner,
        bool disableUpgrades,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external returns (address appId) {
        return _deployAndRegisterApp(
            initialOwner,
            disableUpgrades,
            requireTcbUpToDate,
            allowAnyDevice,
            initialDeviceId,
            initialComposeHash
        );
    }

    /// @inheritdoc IKmsAuth
    function deployAndRegisterApp(
        address initialOwner,
        bool disableUpgrades,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external returns (address appId) {
        return _deployAndRegisterApp(
            initialOwner, disableUpgrades, false, allowAnyDevice, initialDeviceId, initialComposeHash
        );
    }

    /// @inheritdoc IKmsAuth
    function addKmsAggregatedMr(bytes32 mrAggregated) external onlyOwner {
        kmsAllowedAggregatedMrs[mrAggregated] = true;
        emit KmsAggregatedMrAdded(mrAggregated);
        _recordPolicy(PolicyLabels.KMS_AGGREGATED_MR, mrAggregated, true);
    }

    /// @inheritdoc IKmsAuth
    function removeKmsAggregatedMr(bytes32 mrAggregated) external onlyOwner {
        kmsAllowedAggregatedMrs[mrAggregated] = false;
        emit KmsAggregatedMrRemoved(mrAggregated);
        _recordPolicy(PolicyLabels.KMS_AGGREGATED_MR, mrAggregated, false);
    }

    /// @inheritdoc IKmsAuth
    function addKmsDevice(bytes32 deviceId) external onlyOwner {
        kmsAllowedDeviceIds[deviceId] = true;
        emit KmsDeviceAdded(deviceId);
        _recordPolicy(PolicyLabels.KMS_DEVICE, deviceId, true);
    }

    /// @inheritdoc IKmsAuth
    function removeKmsDevice(bytes32 deviceId) external onlyOwner {
        kmsAllowedDeviceIds[deviceId] = false;
        emit KmsDeviceRemoved(deviceId);
        _recordPolicy(PolicyLabels.KMS_DEVICE, deviceId, false);
    }

    /// @inheritdoc IKmsAuth
    function addOsImageHash(bytes32 osImageHash) external onlyOwner {
        allowedOsImages[osImageHash] = true;
        emit OsImageHashAdded(osImageHash);
        _recordPolicy(PolicyLabels.OS_IMAGE, osImageHash, true);
    }

    /// @inheritdoc IKmsAuth
    function removeOsImageHash(bytes32 osImageHash) external onlyOwner {
        allowedOsImages[osImageHash] = false;
        emit OsImageHashRemoved(osImageHash);
        _recordPolicy(PolicyLabels.OS_IMAGE, osImageHash, false);
    }

    /// @inheritdoc IKmsAuth
    /// @dev Looks at TCB status, OS image, aggregated measurement and device; the first rule that fails is the
    /// reason.
    function isKmsAllowed(AppBootInfo calldata bootInfo)
        external
        view
        returns (bool isAllowed, string memory reason)
    {
        if (!_isUpToDate(bootInfo.tcbStatus)) {
            return (false, TCB_NOT_UP_TO_DATE);
        }
        if (!allowedOsImages[bootInfo.osImageHash]) {
            return (false, OS_IMAGE_NOT_ALLOWED);
        }
        if (!kmsAllowedAggregatedMrs[bootInfo.mrAggregated]) {
            return (false, "Aggregated MR not allowed");
        }
        if (!kmsAllowedDeviceIds[bootInfo.deviceId]) {
            return (false, "KMS is not allowed to boot on this device");
        }
        return (true, "");
    }

    /// @inheritdoc IAppAuth
    /// @dev Looks at registration and OS image, then lets the app's contract decide. If that reverts, so does
    /// this: an app whose contract fails gets no keys.
    function isAppAllowed(AppBootInfo calldata bootInfo)
        external
        view
        returns (bool isAllowed, string memory reason)
    {
        if (!registeredApps[bootInfo.appId]) {
            return (false, "App not registered");
        }
        if (!allowedOsImages[bootInfo.osImageHash]) {
            return (false, OS_IMAGE_NOT_ALLOWED);
        }
        if (bootInfo.appId.code.length == 0) {
            return (false, "App not deployed or invalid address");
        }
        return IAppAuth(bootInfo.appId).isAppAllowed(bootInfo);
    }

    /// @inheritdoc ERC165Upgradeable
    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IAppAuth).interfaceId || super.supportsInterface(interfaceId);
    }

    function _deployAndRegisterApp(
        address initialOwner,
        bool disableUpgrades,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) private returns (address appId) {
        require(appImplementation != address(0), "DstackApp implementation not set");
        require(initialOwner != address(0), "Invalid owner address");

        // The signature in full: `initialize` is overloaded, so no `.selector` names this form.
        bytes memory initialization = abi.encodeWithSignature(
            "initialize(address,bool,bool,bool,bytes32,bytes32)",
            initialOwner,
            disableUpgrades,
            requireTcbUpToDate,
            allowAnyDevice,
            initialDeviceId,
            initialComposeHash
        );
        appId = address(new ERC1967Proxy(appImplementation, initialization));
        _registerApp(appId);
        emit AppDeployedViaFactory(appId, msg.sender);
    }

    function _registerApp(address appId) private {
        require(appId != address(0), "Invalid app ID");
        registeredApps[appId] = true;
        emit AppRegistered(appId);
        _recordPolicy(PolicyLabels.REGISTERED_APP, appId);
    }

    function _setAppImplementation(address implementation) private {
        appImplementation = implementation;
        emit AppImplementationSet(implementation);
        _recordPolicy(PolicyLabels.APP_IMPLEMENTATION, implementation);
    }

    /// @dev OpenZeppelin emits `Upgraded` when this has passed.
    function _authorizeUpgrade(address newImplementation) internal override onlyOwner {
        _recordPolicy(PolicyLabels.IMPLEMENTATION_UPGRADE, newImplementation);
    }
}
