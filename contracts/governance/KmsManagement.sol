// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";

import {IKmsManagement} from "../interfaces/IKmsManagement.sol";
import {PolicyLabels} from "../PolicyLog.sol";
import {AppRegistry} from "./AppRegistry.sol";
import {Governed} from "./Governed.sol";

/// @title The part of {KmsAuth} that changes the policy
/// @dev {KmsAuth} calls it by delegatecall: it works on the proxy's storage.
contract KmsManagement is AppRegistry {
    using EnumerableSet for EnumerableSet.Bytes32Set;

    constructor() {
        _disableInitializers();
    }

    /// @inheritdoc IKmsManagement
    function initialize(address initialOwner, address appImplementation_) external initializer {
        _initialize(initialOwner, appImplementation_);
    }

    /// @inheritdoc IKmsManagement
    function initialize(
        address initialOwner,
        address appImplementation_,
        uint32 initialDelay,
        address initialGuardian
    ) external initializer {
        _initialize(initialOwner, appImplementation_);
        _initializeGovernance(initialDelay, initialGuardian);
    }

    // ------------------------------------------------------------ the KMS itself

    /// @inheritdoc IKmsManagement
    function setKmsInfo(KmsInfo calldata info) external onlyOwner {
        _settle();
        bool sameKeys = keccak256(info.k256Pubkey) == keccak256(_kmsInfo.k256Pubkey)
            && keccak256(info.caPubkey) == keccak256(_kmsInfo.caPubkey);
        bool isFirst = _kmsInfo.k256Pubkey.length == 0 && _kmsInfo.caPubkey.length == 0;
        if (sameKeys || isFirst || _governed().delay == 0) {
            _drop(_id(PolicyLabels.KMS_INFO, 0));
            _writeKmsInfo(info);
        } else {
            if (info.k256Pubkey.length == 0 || info.caPubkey.length == 0) revert KmsKeysMissing();
            // Evidence is long and concerns nobody before the keys hold.
            KmsInfo memory keys = KmsInfo(info.k256Pubkey, info.caPubkey, "", "");
            _widen(PolicyLabels.KMS_INFO, keccak256(info.k256Pubkey), abi.encode(keys));
        }
    }

    /// @inheritdoc IKmsManagement
    function setKmsQuote(bytes calldata quote) external onlyOwner {
        _settle();
        _kmsInfo.quote = quote;
        _announceEvidence();
    }

    /// @inheritdoc IKmsManagement
    function setKmsEventlog(bytes calldata eventlog) external onlyOwner {
        _settle();
        _kmsInfo.eventlog = eventlog;
        _announceEvidence();
    }

    /// @inheritdoc IKmsManagement
    function setGatewayAppId(string calldata appId) external onlyOwner {
        _settle();
        bool isSame = keccak256(bytes(appId)) == keccak256(bytes(_gatewayAppId));
        bool isFirst = bytes(_gatewayAppId).length == 0 && !_gatewayWithdrawn;
        if (isSame || isFirst || bytes(appId).length == 0) {
            // Naming none and then another one would be a way around the delay.
            if (!isFirst && bytes(appId).length == 0) _gatewayWithdrawn = true;
            _drop(_id(PolicyLabels.GATEWAY_APP_ID, 0));
            _writeGatewayAppId(appId);
        } else {
            _widen(PolicyLabels.GATEWAY_APP_ID, keccak256(bytes(appId)), bytes(appId));
        }
    }

    /// @inheritdoc IKmsManagement
    function addKmsAggregatedMr(bytes32 mrAggregated) external onlyOwner {
        _add(PolicyLabels.KMS_AGGREGATED_MR, _kmsMrs, mrAggregated);
    }

    /// @inheritdoc IKmsManagement
    function removeKmsAggregatedMr(bytes32 mrAggregated) external onlyOwner {
        _remove(PolicyLabels.KMS_AGGREGATED_MR, mrAggregated);
    }

    /// @inheritdoc IKmsManagement
    function addKmsDevice(bytes32 deviceId) external onlyOwner {
        _add(PolicyLabels.KMS_DEVICE, _kmsDevices, deviceId);
    }

    /// @inheritdoc IKmsManagement
    function removeKmsDevice(bytes32 deviceId) external onlyOwner {
        _remove(PolicyLabels.KMS_DEVICE, deviceId);
    }

    /// @inheritdoc IKmsManagement
    function addOsImageHash(bytes32 osImageHash) external onlyOwner {
        _add(PolicyLabels.OS_IMAGE, _osImages, osImageHash);
    }

    /// @inheritdoc IKmsManagement
    function removeOsImageHash(bytes32 osImageHash) external onlyOwner {
        _remove(PolicyLabels.OS_IMAGE, osImageHash);
    }

    /// @inheritdoc IKmsManagement
    function setKmsNode(KmsNode calldata node) external onlyOwner {
        _settle();
        bytes32 nodeId = keccak256(bytes(node.endpoint));
        _nodeIds.add(nodeId);
        _nodes[nodeId] = node;
        emit KmsNodeSet(nodeId, node);
        _recordPolicy(PolicyLabels.KMS_NODE, nodeId, true);
    }

    /// @inheritdoc IKmsManagement
    function removeKmsNode(bytes32 nodeId) external onlyOwner {
        _settle();
        if (!_nodeIds.remove(nodeId)) revert UnknownKmsNode(nodeId);
        delete _nodes[nodeId];
        emit KmsNodeRemoved(nodeId);
        _recordPolicy(PolicyLabels.KMS_NODE, nodeId, false);
    }

    /// @inheritdoc IKmsManagement
    function disableUpgrades() external onlyOwner {
        _settle();
        _dropAll(PolicyLabels.IMPLEMENTATION_UPGRADE);
        _upgradesDisabled = true;
        emit UpgradesDisabled();
        _recordPolicy(PolicyLabels.UPGRADES_DISABLED, bytes32(0), true);
    }

    // ------------------------------------------------------------ private

    function _initialize(address initialOwner, address appImplementation_) private onlyInitializing {
        __Ownable_init(initialOwner);
        if (appImplementation_ != address(0)) _writeAppImplementation(appImplementation_);
    }

    function _add(bytes32 label, mapping(bytes32 => bool) storage list, bytes32 value) private {
        _settle();
        if (list[value]) _writeListed(label, value, true);
        else _widen(label, value);
    }

    function _remove(bytes32 label, bytes32 value) private {
        _settle();
        _drop(_id(label, value));
        _writeListed(label, value, false);
    }

    function _writeListed(bytes32 label, bytes32 value, bool listed) private {
        if (label == PolicyLabels.KMS_AGGREGATED_MR) {
            _kmsMrs[value] = listed;
            if (listed) emit KmsAggregatedMrAdded(value);
            else emit KmsAggregatedMrRemoved(value);
        } else if (label == PolicyLabels.KMS_DEVICE) {
            _kmsDevices[value] = listed;
            if (listed) emit KmsDeviceAdded(value);
            else emit KmsDeviceRemoved(value);
        } else {
            _osImages[value] = listed;
            if (listed) emit OsImageHashAdded(value);
            else emit OsImageHashRemoved(value);
        }
        _recordPolicy(label, value, listed);
    }

    function _announceEvidence() private {
        bytes32 quoteHash = keccak256(_kmsInfo.quote);
        emit KmsEvidenceSet(quoteHash, keccak256(_kmsInfo.eventlog));
        _recordPolicy(PolicyLabels.KMS_EVIDENCE, quoteHash, true);
    }

    function _writeKmsInfo(KmsInfo memory info) private {
        _kmsInfo = info;
        emit KmsInfoSet(info.k256Pubkey);
        _recordPolicy(PolicyLabels.KMS_INFO, keccak256(info.k256Pubkey), true);
    }

    function _writeGatewayAppId(string memory appId) private {
        _gatewayAppId = appId;
        emit GatewayAppIdSet(appId);
        _recordPolicy(PolicyLabels.GATEWAY_APP_ID, keccak256(bytes(appId)), true);
    }

    /// @inheritdoc Governed
    function _apply(bytes32 label, bytes32 value, bytes memory data) internal override {
        if (label == PolicyLabels.KMS_INFO) {
            _writeKmsInfo(abi.decode(data, (KmsInfo)));
        } else if (label == PolicyLabels.GATEWAY_APP_ID) {
            _writeGatewayAppId(string(data));
        } else if (label == PolicyLabels.APP_IMPLEMENTATION) {
            _writeAppImplementation(_address(value));
        } else if (label == PolicyLabels.REGISTERED_APP) {
            _register(_address(value));
        } else if (label == PolicyLabels.APP_UNPAUSED) {
            _unpauseApp(_address(value));
        } else if (label == PolicyLabels.DELAY || label == PolicyLabels.GUARDIAN) {
            super._apply(label, value, data);
        } else {
            _writeListed(label, value, true);
        }
    }

    function _checkUpgradable() internal view override {
        require(!_upgradesDisabled, "Upgrades are permanently disabled");
    }
}
