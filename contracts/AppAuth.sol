// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";

import {AppManagement} from "./governance/AppManagement.sol";
import {AppPolicy, TcbStatuses, TeeVariants} from "./governance/AppPolicies.sol";
import {AppState} from "./governance/AppState.sol";
import {TwoParts} from "./governance/TwoParts.sol";
import {IAppAuth} from "./interfaces/IAppAuth.sol";
import {IAppAuthBasicManagement} from "./interfaces/IAppAuthBasicManagement.sol";
import {Facts, IAppPolicy, RuleVerdict} from "./interfaces/IAppPolicy.sol";
import {IAppReading} from "./interfaces/IAppReading.sol";

/// @title The policy of one app
/// @notice Its address is the app's id. The owner lists the compose hashes that may run, as versions, the devices
/// they may run on and what the platform must be like; whether the app is registered and the OS image trusted was
/// the KMS contract's question before. {IManagedAppAuth} is everything it answers.
/// @dev This part answers, {AppManagement} changes. dstack's `DstackApp` kept the same slots, and its proxies can
/// be upgraded to this implementation: what was 0 or false there means here what it meant there.
contract AppAuth is AppState, TwoParts, IAppAuth, IAppPolicy, IAppReading {
    using Strings for uint256;

    string private constant PAUSED = "App is paused";

    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor() TwoParts(address(new AppManagement())) {}

    /// @inheritdoc IAppAuth
    /// @dev For callers that know only the identity: a rule that needs {Facts} denies.
    function isAppAllowed(AppBootInfo calldata bootInfo) external view returns (bool, string memory) {
        return _decide(bootInfo, Facts(0, 0, 0, false), _now());
    }

    /// @inheritdoc IAppPolicy
    function decide(AppBootInfo calldata bootInfo, Facts calldata facts, uint64 time)
        external
        view
        returns (bool, string memory)
    {
        return _decide(bootInfo, facts, _atOrNow(time));
    }

    /// @inheritdoc IAppPolicy
    function explain(AppBootInfo calldata bootInfo, Facts calldata facts, uint64 time)
        external
        view
        returns (RuleVerdict[] memory)
    {
        return _explain(bootInfo, facts, _atOrNow(time));
    }

    // ------------------------------------------------------------ reading

    /// @inheritdoc IAppReading
    function allowedDeviceIds(bytes32 deviceId) external view returns (bool) {
        return _isDeviceListed(deviceId, _now());
    }

    /// @inheritdoc IAppReading
    function policy(uint64 time) external view returns (AppPolicy memory) {
        return _policyAt(_atOrNow(time));
    }

    /// @inheritdoc IAppReading
    function allowAnyDevice() external view returns (bool) {
        return _policyAt(_now()).allowAnyDevice;
    }

    /// @inheritdoc IAppReading
    function requireTcbUpToDate() external view returns (bool) {
        return _requiresUpToDate(_policyAt(_now()));
    }

    /// @inheritdoc IAppReading
    function toleratedAdvisories(bytes32 advisory) external view returns (bool) {
        return _isTolerated(advisory, _now());
    }

    /// @inheritdoc IAppReading
    function paused() external view returns (bool) {
        return _isPaused(_now());
    }

    /// @inheritdoc IAppReading
    function allowedComposeHashes(bytes32 composeHash) external view returns (bool) {
        return _standing(composeHash, _now()) == Standing.Active;
    }

    /// @inheritdoc IAppReading
    function versionCount() external view returns (uint32) {
        return _flags.versionCount;
    }

    /// @inheritdoc IAppReading
    function minVersion() external view returns (uint32) {
        return _flags.minVersion;
    }

    /// @inheritdoc IAppReading
    function versionsFrozen() external view returns (bool) {
        return _flags.versionsFrozen;
    }

    /// @inheritdoc IAppReading
    function versions(uint32 from, uint32 count, uint64 time)
        external
        view
        returns (VersionInfo[] memory page)
    {
        uint256 first = from == 0 ? 1 : from;
        uint256 end = first + count;
        if (end > _composeHashes.length + 1) end = _composeHashes.length + 1;
        page = new VersionInfo[](end > first ? end - first : 0);
        for (uint256 i = 0; i < page.length; i++) {
            page[i] = _versionInfo(_composeHashes[first + i - 1], _atOrNow(time));
            // A hash that was removed and added again has a later number now; this one is history.
            if (page[i].number != first + i) {
                page[i].number = uint32(first + i);
                page[i].allowed = false;
                page[i].state = "removed";
            }
        }
    }

    /// @inheritdoc IAppReading
    function versionOf(bytes32 composeHash, uint64 time) external view returns (VersionInfo memory) {
        return _versionInfo(composeHash, _atOrNow(time));
    }

    /// @inheritdoc IAppReading
    function upgradesDisabled() external view returns (bool) {
        return _flags.upgradesDisabled;
    }

    /// @inheritdoc IAppReading
    function version() external pure returns (uint256) {
        return 2;
    }

    /// @inheritdoc TwoParts
    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IAppAuth).interfaceId || interfaceId == type(IAppPolicy).interfaceId
            || interfaceId == type(IAppAuthBasicManagement).interfaceId
            || super.supportsInterface(interfaceId);
    }

    // ------------------------------------------------------------ the rules

    /// @dev The first rule that fails gives the reason; dstack's rules come in dstack's order.
    function _decide(IAppAuth.AppBootInfo calldata bootInfo, Facts memory facts, uint64 time)
        internal
        view
        returns (bool, string memory reason)
    {
        if (_isPaused(time)) return (false, PAUSED);
        // Most apps demand nothing besides their lists. One word tells that, which is cheaper than every rule.
        if (_demandsAnything()) reason = _judgeDemands(bootInfo, facts, time);
        else reason = _judgeLists(_flags.allowAnyDevice, bootInfo, time);
        return (bytes(reason).length == 0, reason);
    }

    function _judgeDemands(IAppAuth.AppBootInfo calldata bootInfo, Facts memory facts, uint64 time)
        private
        view
        returns (string memory reason)
    {
        AppPolicy memory current = _policyAt(time);
        if (bytes(reason = _judgeTcb(current, bootInfo, facts, time)).length != 0) return reason;
        if (bytes(reason = _judgeLists(current.allowAnyDevice, bootInfo, time)).length != 0) return reason;
        if (bytes(reason = _judgeVariant(current, facts)).length != 0) return reason;
        if (bytes(reason = _judgeAdvisories(current, bootInfo, time)).length != 0) return reason;
        if (bytes(reason = _judgeGpu(current, facts)).length != 0) return reason;
        return _judgeStateAge(current, facts, time);
    }

    function _judgeLists(bool anyDevice, IAppAuth.AppBootInfo calldata bootInfo, uint64 time)
        private
        view
        returns (string memory reason)
    {
        if (bytes(reason = _judgeVersion(bootInfo.composeHash, time)).length != 0) return reason;
        return _judgeDevice(anyDevice, bootInfo, time);
    }

    /// @dev The same rules in the same order, all of them.
    function _explain(IAppAuth.AppBootInfo calldata bootInfo, Facts memory facts, uint64 time)
        internal
        view
        returns (RuleVerdict[] memory verdicts)
    {
        AppPolicy memory current = _policyAt(time);
        verdicts = new RuleVerdict[](8);
        verdicts[0] = _verdict("not paused", _isPaused(time) ? PAUSED : "");
        verdicts[1] = _verdict("TCB status", _judgeTcb(current, bootInfo, facts, time));
        verdicts[2] = _verdict("compose hash", _judgeVersion(bootInfo.composeHash, time));
        verdicts[3] = _verdict("device", _judgeDevice(current.allowAnyDevice, bootInfo, time));
        verdicts[4] = _verdict("TEE variant", _judgeVariant(current, facts));
        verdicts[5] = _verdict("advisories", _judgeAdvisories(current, bootInfo, time));
        verdicts[6] = _verdict("GPU attestation", _judgeGpu(current, facts));
        verdicts[7] = _verdict("chain state age", _judgeStateAge(current, facts, time));
    }

    function _verdict(string memory rule, string memory reason) private pure returns (RuleVerdict memory) {
        return RuleVerdict(rule, bytes(reason).length == 0, reason);
    }

    function _judgeTcb(
        AppPolicy memory current,
        IAppAuth.AppBootInfo calldata bootInfo,
        Facts memory facts,
        uint64 time
    ) private pure returns (string memory) {
        if (current.tcbStatuses == TcbStatuses.ALL) return "";
        uint16 status = TcbStatuses.bitOf(bootInfo.tcbStatus);
        if (current.tcbStatuses & status != 0) return "";
        if (current.tcbGracePeriod != 0 && status & TcbStatuses.OUTDATED != 0) {
            if (facts.tcbOutdatedSince == 0) return "It is not known since when the TCB is out of date";
            uint256 end = uint256(facts.tcbOutdatedSince) + current.tcbGracePeriod;
            // The later of the chain's and the KMS's clock: an old block prolongs nothing.
            if (time < end && facts.time < end) return "";
            return string.concat("The grace period for the outdated TCB ended at ", end.toString());
        }
        // dstack's words for dstack's rule.
        if (current.tcbStatuses == TcbStatuses.UP_TO_DATE) return "TCB status is not up to date";
        return string.concat("TCB status ", bootInfo.tcbStatus, " is not allowed");
    }

    function _judgeDevice(bool anyDevice, IAppAuth.AppBootInfo calldata bootInfo, uint64 time)
        private
        view
        returns (string memory)
    {
        if (anyDevice || _isDeviceListed(bootInfo.deviceId, time)) return "";
        return "Device not allowed";
    }

    function _judgeVariant(AppPolicy memory current, Facts memory facts)
        private
        pure
        returns (string memory)
    {
        if (current.teeVariants == TeeVariants.ALL || current.teeVariants & facts.teeVariant != 0) return "";
        return facts.teeVariant == 0 ? "TEE variant is not known" : "TEE variant is not allowed";
    }

    function _judgeAdvisories(AppPolicy memory current, IAppAuth.AppBootInfo calldata bootInfo, uint64 time)
        private
        view
        returns (string memory)
    {
        if (current.anyAdvisory) return "";
        for (uint256 i = 0; i < bootInfo.advisoryIds.length; i++) {
            bytes calldata text = bytes(bootInfo.advisoryIds[i]);
            if (text.length > 32 || !_isTolerated(bytes32(text), time)) {
                return string.concat("Advisory ", string(text), " is not tolerated");
            }
        }
        return "";
    }

    function _judgeGpu(AppPolicy memory current, Facts memory facts) private pure returns (string memory) {
        return current.requireGpu && !facts.gpuAttested ? "GPU attestation is required" : "";
    }

    /// @dev Whoever asks at a block asks with the time of that block; the KMS's clock says how old that is.
    function _judgeStateAge(AppPolicy memory current, Facts memory facts, uint64 time)
        private
        pure
        returns (string memory)
    {
        if (current.maxStateAge == 0) return "";
        if (facts.time == 0) return "Age of the chain state is not known";
        if (facts.time <= uint256(time) + current.maxStateAge) return "";
        return
            string.concat("Chain state is older than ", uint256(current.maxStateAge).toString(), " seconds");
    }

    /// @dev The rule on compose hashes; an empty reason allows.
    function _judgeVersion(bytes32 composeHash, uint64 time) private view returns (string memory) {
        Standing standing = _standing(composeHash, time);
        if (standing == Standing.Active) return "";
        Version memory entry = _versions[composeHash];
        // dstack's words for what dstack knows.
        if (standing == Standing.Unknown || standing == Standing.Removed) return "Compose hash not allowed";
        string memory name = entry.number == 0
            ? "Version from before numbering"
            : string.concat("Version ", uint256(entry.number).toString());
        if (standing == Standing.Retired) return string.concat(name, " is retired");
        if (standing == Standing.Expired) {
            return string.concat(name, " ended at ", uint256(entry.expiresAt).toString());
        }
        return string.concat(name, " is pending until ", uint256(entry.activatesAt).toString());
    }

    function _versionInfo(bytes32 composeHash, uint64 time) private view returns (VersionInfo memory) {
        Version memory entry = _versions[composeHash];
        Standing standing = _standing(composeHash, time);
        string[6] memory words = ["unknown", "active", "pending", "expired", "retired", "removed"];
        return VersionInfo({
            number: entry.number,
            composeHash: composeHash,
            activatesAt: entry.activatesAt,
            expiresAt: entry.expiresAt,
            allowed: standing == Standing.Active,
            state: words[uint256(standing)],
            noteUri: _notes[composeHash]
        });
    }
}
