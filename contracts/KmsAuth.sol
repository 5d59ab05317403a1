// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC165Checker} from "@openzeppelin/contracts/utils/introspection/ERC165Checker.sol";
import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";

import {KmsManagement} from "./governance/KmsManagement.sol";
import {KmsState} from "./governance/KmsState.sol";
import {TwoParts} from "./governance/TwoParts.sol";
import {IAppAuth} from "./interfaces/IAppAuth.sol";
import {Facts, IAppPolicy, RuleVerdict} from "./interfaces/IAppPolicy.sol";
import {IKmsReading} from "./interfaces/IKmsReading.sol";
import {PolicyLabels} from "./PolicyLog.sol";

/// @title The root of trust: which KMS builds, OS images and apps exist
/// @notice A KMS releases keys only to what {isKmsAllowed}, {isAppAllowed} or {decide} answers true for.
/// {IKmsAuth} is everything it answers.
/// @dev This part answers, {KmsManagement} changes. dstack's `DstackKms` kept the same slots, and its proxies can
/// be upgraded to this implementation: what was 0 or false there means here what it meant there.
contract KmsAuth is KmsState, TwoParts, IKmsReading, IAppPolicy {
    using EnumerableSet for EnumerableSet.Bytes32Set;

    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor() TwoParts(address(new KmsManagement())) {}

    /// @inheritdoc IKmsReading
    function isKmsAllowed(AppBootInfo calldata bootInfo) external view returns (bool, string memory) {
        return _first(_judgeKms(bootInfo, _now()));
    }

    /// @inheritdoc IKmsReading
    function explainKms(AppBootInfo calldata bootInfo, uint64 time)
        external
        view
        returns (RuleVerdict[] memory)
    {
        return _judgeKms(bootInfo, _atOrNow(time));
    }

    /// @inheritdoc IAppAuth
    /// @dev Registration, pause and OS image are judged here, the rest by the app's contract. If that reverts, so
    /// does this: an app whose contract fails gets no keys.
    function isAppAllowed(AppBootInfo calldata bootInfo)
        external
        view
        returns (bool isAllowed, string memory reason)
    {
        reason = _judgeApp(bootInfo, _now());
        if (bytes(reason).length != 0) return (false, reason);
        // As it came: it is the same question, and putting it together anew costs as much as answering it.
        (bool success, bytes memory answer) = bootInfo.appId.staticcall(msg.data);
        // A verdict, where its reason begins and how long that is: less is no answer.
        if (success && answer.length < 96) revert NoVerdict(bootInfo.appId);
        assembly {
            switch success
            case 0 { revert(add(answer, 0x20), mload(answer)) }
            default { return(add(answer, 0x20), mload(answer)) }
        }
    }

    /// @inheritdoc IAppPolicy
    /// @dev As {isAppAllowed}; an app that cannot be asked about facts is asked without.
    function decide(AppBootInfo calldata bootInfo, Facts calldata facts, uint64 time)
        external
        view
        returns (bool isAllowed, string memory reason)
    {
        reason = _judgeApp(bootInfo, _atOrNow(time));
        if (bytes(reason).length != 0) return (false, reason);
        if (_hasPolicy(bootInfo.appId)) return IAppPolicy(bootInfo.appId).decide(bootInfo, facts, time);
        return IAppAuth(bootInfo.appId).isAppAllowed(bootInfo);
    }

    /// @inheritdoc IAppPolicy
    function explain(AppBootInfo calldata bootInfo, Facts calldata facts, uint64 time)
        external
        view
        returns (RuleVerdict[] memory verdicts)
    {
        RuleVerdict[] memory ours = _explainApp(bootInfo, _atOrNow(time));
        RuleVerdict[] memory theirs =
            bootInfo.appId.code.length == 0 ? new RuleVerdict[](0) : _explainTheirs(bootInfo, facts, time);
        verdicts = new RuleVerdict[](ours.length + theirs.length);
        for (uint256 i = 0; i < verdicts.length; i++) {
            verdicts[i] = i < ours.length ? ours[i] : theirs[i - ours.length];
        }
    }

    // ------------------------------------------------------------ reading

    /// @inheritdoc IKmsReading
    function appImplementation() external view returns (address) {
        return _currentAppImplementation();
    }

    /// @inheritdoc IKmsReading
    function registeredApps(address appId) external view returns (bool) {
        return _isRegistered(appId, _now());
    }

    /// @inheritdoc IKmsReading
    function deregisteredApps(address appId) external view returns (bool) {
        return _apps[appId].deregistered && !_isRegistered(appId, _now());
    }

    /// @inheritdoc IKmsReading
    function pausedApps(address appId) external view returns (bool) {
        return _isAppPaused(appId, _now());
    }

    /// @inheritdoc IKmsReading
    function kmsInfo()
        external
        view
        returns (bytes memory k256Pubkey, bytes memory caPubkey, bytes memory quote, bytes memory eventlog)
    {
        bytes32 id = _id(PolicyLabels.KMS_INFO, 0);
        KmsInfo memory info = _matured(id, _now()) ? abi.decode(_change(id).data, (KmsInfo)) : _kmsInfo;
        return (info.k256Pubkey, info.caPubkey, info.quote, info.eventlog);
    }

    /// @inheritdoc IKmsReading
    function gatewayAppId() external view returns (string memory) {
        bytes32 id = _id(PolicyLabels.GATEWAY_APP_ID, 0);
        return _matured(id, _now()) ? string(_change(id).data) : _gatewayAppId;
    }

    /// @inheritdoc IKmsReading
    function kmsAllowedAggregatedMrs(bytes32 mrAggregated) external view returns (bool) {
        return _holds(PolicyLabels.KMS_AGGREGATED_MR, _kmsMrs[mrAggregated], mrAggregated, _now());
    }

    /// @inheritdoc IKmsReading
    function kmsAllowedDeviceIds(bytes32 deviceId) external view returns (bool) {
        return _holds(PolicyLabels.KMS_DEVICE, _kmsDevices[deviceId], deviceId, _now());
    }

    /// @inheritdoc IKmsReading
    function allowedOsImages(bytes32 osImageHash) external view returns (bool) {
        return _holds(PolicyLabels.OS_IMAGE, _osImages[osImageHash], osImageHash, _now());
    }

    /// @inheritdoc IKmsReading
    function kmsNodes() external view returns (bytes32[] memory nodeIds, KmsNode[] memory nodes) {
        nodeIds = _nodeIds.values();
        nodes = new KmsNode[](nodeIds.length);
        for (uint256 i = 0; i < nodeIds.length; i++) {
            nodes[i] = _nodes[nodeIds[i]];
        }
    }

    /// @inheritdoc IKmsReading
    function upgradesDisabled() external view returns (bool) {
        return _upgradesDisabled;
    }

    /// @inheritdoc TwoParts
    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IAppAuth).interfaceId || interfaceId == type(IAppPolicy).interfaceId
            || super.supportsInterface(interfaceId);
    }

    // ------------------------------------------------------------ the rules

    /// @dev What this contract demands of an app's VM; an empty reason leaves the verdict to the app's contract.
    function _judgeApp(AppBootInfo calldata bootInfo, uint64 time) private view returns (string memory) {
        address appId = bootInfo.appId;
        App storage app = _apps[appId];
        if (!app.registered && !_isRegistered(appId, time)) {
            return app.deregistered ? "App was deregistered" : "App not registered";
        }
        if (app.paused && _isAppPaused(appId, time)) return "App is paused at the KMS contract";
        if (!_isImageAllowed(bootInfo.osImageHash, time)) return "OS image is not allowed";
        if (appId.code.length == 0) return "App not deployed or invalid address";
        return "";
    }

    /// @dev The same rules in the same order, all of them.
    function _explainApp(AppBootInfo calldata bootInfo, uint64 time)
        private
        view
        returns (RuleVerdict[] memory verdicts)
    {
        address appId = bootInfo.appId;
        verdicts = new RuleVerdict[](4);
        verdicts[0] = _verdict(
            "registered",
            _isRegistered(appId, time),
            _apps[appId].deregistered ? "App was deregistered" : "App not registered"
        );
        verdicts[1] = _verdict(
            "not paused at the KMS contract", !_isAppPaused(appId, time), "App is paused at the KMS contract"
        );
        verdicts[2] =
            _verdict("OS image", _isImageAllowed(bootInfo.osImageHash, time), "OS image is not allowed");
        verdicts[3] =
            _verdict("app contract exists", appId.code.length != 0, "App not deployed or invalid address");
    }

    /// @dev What the app's contract says; that it fails is an answer too.
    function _explainTheirs(AppBootInfo calldata bootInfo, Facts calldata facts, uint64 time)
        private
        view
        returns (RuleVerdict[] memory verdicts)
    {
        if (_hasPolicy(bootInfo.appId)) {
            try IAppPolicy(bootInfo.appId).explain(bootInfo, facts, time) returns (
                RuleVerdict[] memory said
            ) {
                return said;
            } catch {}
        }
        verdicts = new RuleVerdict[](1);
        try IAppAuth(bootInfo.appId).isAppAllowed(bootInfo) returns (bool passed, string memory reason) {
            verdicts[0] = _verdict("app contract", passed, reason);
        } catch {
            verdicts[0] = _verdict("app contract", false, "The app's contract reverted");
        }
    }

    function _judgeKms(AppBootInfo calldata bootInfo, uint64 time)
        private
        view
        returns (RuleVerdict[] memory verdicts)
    {
        bytes32 mr = bootInfo.mrAggregated;
        bytes32 device = bootInfo.deviceId;
        verdicts = new RuleVerdict[](4);
        verdicts[0] = _verdict(
            "TCB status",
            keccak256(bytes(bootInfo.tcbStatus)) == keccak256("UpToDate"),
            "TCB status is not up to date"
        );
        verdicts[1] =
            _verdict("OS image", _isImageAllowed(bootInfo.osImageHash, time), "OS image is not allowed");
        verdicts[2] = _verdict(
            "aggregated measurement",
            _holds(PolicyLabels.KMS_AGGREGATED_MR, _kmsMrs[mr], mr, time),
            "Aggregated MR not allowed"
        );
        verdicts[3] = _verdict(
            "device",
            _holds(PolicyLabels.KMS_DEVICE, _kmsDevices[device], device, time),
            "KMS is not allowed to boot on this device"
        );
    }

    function _first(RuleVerdict[] memory verdicts) private pure returns (bool, string memory) {
        for (uint256 i = 0; i < verdicts.length; i++) {
            if (!verdicts[i].passed) return (false, verdicts[i].reason);
        }
        return (true, "");
    }

    function _verdict(string memory rule, bool passed, string memory reason)
        private
        pure
        returns (RuleVerdict memory)
    {
        return RuleVerdict(rule, passed, passed ? "" : reason);
    }

    function _hasPolicy(address appId) private view returns (bool) {
        return ERC165Checker.supportsInterface(appId, type(IAppPolicy).interfaceId);
    }
}
