// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppPolicy, TcbStatuses, TeeVariants} from "../../../../contracts/governance/AppPolicies.sol";
import {IAppAuth} from "../../../../contracts/interfaces/IAppAuth.sol";
import {Facts} from "../../../../contracts/interfaces/IAppPolicy.sol";
import {IAppReading} from "../../../../contracts/interfaces/IAppReading.sol";
import {IGoverned} from "../../../../contracts/interfaces/IGoverned.sol";
import {IManagedAppAuth} from "../../../../contracts/interfaces/IManagedAppAuth.sol";
import {GovernedHandler} from "./GovernedHandler.sol";

/// @dev One app's contract.
contract AppHandler is GovernedHandler {
    uint256 private constant HASHES = 4;
    uint256 private constant PROFILES = 4;
    /// @dev For ever, as far as these tests go.
    uint64 private constant FAR = 4_000_000_000;
    uint64 private constant OUTDATED_SINCE = 1_799_900_000;

    IManagedAppAuth private immutable app;

    mapping(bytes32 composeHash => bool) private isRetired;
    bool private isFrozen;
    uint32 private frozenCount;

    constructor(address target_, address other, uint32 delay_) GovernedHandler(target_, other, delay_) {
        app = IManagedAppAuth(target_);
    }

    // ------------------------------------------------------------ versions

    function addComposeHash(uint256 who, uint256 choice) external {
        _call(_actor(who), abi.encodeCall(app.addComposeHash, (_hash(choice))));
    }

    function addVersion(uint256 who, uint256 choice, uint64 begins, uint64 ends) external {
        uint64 notBefore = begins % 3 == 0 ? _now() + begins % 10 days : 0;
        uint64 expiresAt = ends % 3 == 0 ? _now() + ends % 20 days : 0;
        _call(
            _actor(who),
            abi.encodeCall(app.addVersion, (_hash(choice), notBefore, expiresAt, "note")),
            notBefore
        );
    }

    function supersede(uint256 who, uint256 choice, uint256 next, uint64 ends) external {
        uint64 expiresAt = ends % 3 == 0 ? _now() + ends % 20 days : 0;
        _call(_actor(who), abi.encodeCall(app.supersede, (_hash(choice), _hash(next), expiresAt, "")));
    }

    function removeComposeHash(uint256 who, uint256 choice) external {
        bytes32 composeHash = _hash(choice);
        if (!_call(_actor(who), abi.encodeCall(app.removeComposeHash, (composeHash)))) return;
        if (_mayEverRun(composeHash)) _break(Rule.NarrowsAtOnce, "removeComposeHash");
    }

    function retire(uint256 who, uint256 choice) external {
        bytes32 composeHash = _hash(choice);
        if (!_call(_actor(who), abi.encodeCall(app.retire, (composeHash)))) return;
        isRetired[composeHash] = true;
        if (_mayEverRun(composeHash)) _break(Rule.NarrowsAtOnce, "retire");
    }

    function setVersionExpiry(uint256 who, uint256 choice, uint64 ends) external {
        uint64 expiresAt = _now() + ends % 5 days - 1 days;
        bytes32 composeHash = _hash(choice);
        if (!_call(_actor(who), abi.encodeCall(app.setVersionExpiry, (composeHash, expiresAt)))) return;
        if (app.versionOf(composeHash, expiresAt).allowed && expiresAt >= _now()) {
            _break(Rule.NarrowsAtOnce, "setVersionExpiry");
        }
        if (app.versionOf(composeHash, FAR).allowed) _break(Rule.NarrowsAtOnce, "setVersionExpiry");
    }

    function setMinVersion(uint256 who, uint32 choice) external {
        // Rarely all of them.
        uint32 number = choice % 3 == 0 ? app.versionCount() + 1 : app.minVersion() + choice % 2;
        if (!_call(_actor(who), abi.encodeCall(app.setMinVersion, (number)))) return;
        for (uint256 i = 0; i < HASHES; i++) {
            IAppReading.VersionInfo memory info = app.versionOf(_hash(i), FAR);
            if (info.allowed && info.number < number) _break(Rule.NarrowsAtOnce, "setMinVersion");
        }
    }

    /// @dev Rare, since it ends most of what can happen.
    function freezeVersions(uint256 who) external {
        if (who % 12 != 0) return;
        if (!_call(_actor(who / 12), abi.encodeCall(app.freezeVersions, ()))) return;
        isFrozen = true;
        frozenCount = app.versionCount();
        for (uint256 i = 0; i < HASHES; i++) {
            if (app.versionOf(_hash(i), FAR).allowed && !app.allowedComposeHashes(_hash(i))) {
                _break(Rule.NarrowsAtOnce, "freezeVersions");
            }
        }
    }

    // ------------------------------------------------------------ policy

    function addDevice(uint256 who, uint256 choice) external {
        _call(_actor(who), abi.encodeCall(app.addDevice, (_device(choice))));
    }

    function removeDevice(uint256 who, uint256 choice) external {
        bytes32 device = _device(choice);
        if (!_call(_actor(who), abi.encodeCall(app.removeDevice, (device)))) return;
        if (app.allowedDeviceIds(device)) _break(Rule.NarrowsAtOnce, "removeDevice");
        for (uint256 i = 0; i < _probes(); i++) {
            bool concerns = _device(_deviceOf(i)) == device;
            if (concerns && !app.policy(FAR).allowAnyDevice && _isAllowed(i, FAR)) {
                _break(Rule.NarrowsAtOnce, "removeDevice");
            }
        }
    }

    function setPolicy(uint256 who, uint256 choice) external {
        AppPolicy memory next = _policy(choice);
        if (!_call(_actor(who), abi.encodeCall(app.setPolicy, (next)))) return;
        AppPolicy memory present = app.policy(0);
        if (!_isWithin(present, next)) _break(Rule.NarrowsAtOnce, "setPolicy");
        if (keccak256(abi.encode(app.policy(_now() + delay))) != keccak256(abi.encode(next))) {
            _break(Rule.Predicted, "setPolicy");
        }
    }

    function setAllowAnyDevice(uint256 who, bool value) external {
        if (!_call(_actor(who), abi.encodeCall(app.setAllowAnyDevice, (value)))) return;
        if (!value && (app.allowAnyDevice() || app.policy(FAR).allowAnyDevice)) {
            _break(Rule.NarrowsAtOnce, "setAllowAnyDevice");
        }
    }

    function setRequireTcbUpToDate(uint256 who, bool value) external {
        if (!_call(_actor(who), abi.encodeCall(app.setRequireTcbUpToDate, (value)))) return;
        if (!value) return;
        for (uint256 i = 0; i < _probes(); i++) {
            if (_profileOf(i) == 1 && (_isAllowed(i, 0) || _isAllowed(i, FAR))) {
                _break(Rule.NarrowsAtOnce, "setRequireTcbUpToDate");
            }
        }
    }

    function setAdvisoryTolerated(uint256 who, uint256 choice, bool value) external {
        bytes32 advisory = bytes32(bytes(_advisory(choice)));
        if (!_call(_actor(who), abi.encodeCall(app.setAdvisoryTolerated, (advisory, value)))) return;
        if (!value && app.toleratedAdvisories(advisory)) _break(Rule.NarrowsAtOnce, "setAdvisoryTolerated");
    }

    function pause(uint256 who) external {
        address actor = _actor(who);
        bool may = _isOneOf(actor);
        bool done = _call(actor, abi.encodeCall(app.pause, ()));
        if (done != may) _break(Rule.NarrowsAtOnce, "pause");
        if (!done) return;
        for (uint256 i = 0; i < _probes(); i++) {
            if (_isAllowed(i, 0) || _isAllowed(i, FAR)) _break(Rule.NarrowsAtOnce, "pause");
        }
    }

    function unpause(uint256 who) external {
        _call(_actor(who), abi.encodeCall(app.unpause, ()));
    }

    // ------------------------------------------------------------ probes

    /// @inheritdoc GovernedHandler
    function _probes() internal pure override returns (uint256) {
        return HASHES * PROFILES;
    }

    /// @inheritdoc GovernedHandler
    function _isAllowed(uint256 probe, uint64 time) internal view override returns (bool isAllowed) {
        (IAppAuth.AppBootInfo memory info, Facts memory facts) = _question(probe, time);
        (isAllowed,) = app.decide(info, facts, time);
    }

    /// @inheritdoc GovernedHandler
    function _answers(uint64 time) internal view override returns (bytes32 digest) {
        for (uint256 i = 0; i < _probes(); i++) {
            (IAppAuth.AppBootInfo memory info, Facts memory facts) = _question(i, time);
            (bool isAllowed, string memory reason) = app.decide(info, facts, time);
            digest = keccak256(abi.encode(digest, isAllowed, reason, app.explain(info, facts, time)));
        }
        digest = keccak256(abi.encode(digest, app.versions(1, 100, time), app.policy(time)));
        for (uint256 i = 0; i < HASHES; i++) {
            digest = keccak256(abi.encode(digest, app.versionOf(_hash(i), time)));
        }
    }

    /// @inheritdoc GovernedHandler
    function _present() internal view override returns (bytes32 digest) {
        digest = keccak256(
            abi.encode(
                app.delay(),
                app.guardian(),
                app.owner(),
                app.pendingOwner(),
                app.paused(),
                app.versionCount(),
                app.minVersion(),
                app.versionsFrozen(),
                app.upgradesDisabled(),
                app.allowAnyDevice(),
                app.requireTcbUpToDate(),
                app.pendingChanges().length
            )
        );
        for (uint256 i = 0; i < HASHES; i++) {
            bytes32 advisory = bytes32(bytes(_advisory(i)));
            digest = keccak256(
                abi.encode(
                    digest,
                    app.allowedComposeHashes(_hash(i)),
                    app.allowedDeviceIds(_device(i)),
                    app.toleratedAdvisories(advisory)
                )
            );
        }
    }

    /// @dev A version goes on when the one that was to supersede it does not come.
    function _isAboutToEnd(uint256 probe, IGoverned.PendingChange[] memory pending)
        internal
        pure
        override
        returns (bool)
    {
        for (uint256 i = 0; i < pending.length; i++) {
            if (pending[i].policy != keccak256("compose-hash")) continue;
            if (abi.decode(pending[i].data, (bytes32)) == _hash(probe / PROFILES)) return true;
        }
        return false;
    }

    /// @inheritdoc GovernedHandler
    function _look() internal override {
        for (uint256 i = 0; i < HASHES; i++) {
            bytes32 composeHash = _hash(i);
            if (isRetired[composeHash] && _mayEverRun(composeHash)) _break(Rule.Final, "retired");
            if (keccak256(bytes(app.versionOf(composeHash, 0).state)) == keccak256("retired")) {
                isRetired[composeHash] = true;
            }
        }
        if (isFrozen) {
            if (!app.versionsFrozen() || app.versionCount() != frozenCount) _break(Rule.Final, "frozen");
            IGoverned.PendingChange[] memory pending = app.pendingChanges();
            for (uint256 i = 0; i < pending.length; i++) {
                if (pending[i].policy == keccak256("compose-hash")) _break(Rule.Final, "frozen, pending");
            }
        }
        if (upgradesDisabled && !app.upgradesDisabled()) _break(Rule.Final, "upgradesDisabled");
        for (uint256 i = 0; i < _probes(); i++) {
            (IAppAuth.AppBootInfo memory info,) = _question(i, 0);
            (bool without,) = app.isAppAllowed(info);
            if (without && !_isAllowed(i, 0)) _break(Rule.Strict, abi.encode(i));
        }
    }

    function _vetoed(bytes32) internal override {}

    function _renounced() internal override {}

    // ------------------------------------------------------------ private

    function _mayEverRun(bytes32 composeHash) private view returns (bool) {
        return app.allowedComposeHashes(composeHash) || app.versionOf(composeHash, _now() + delay).allowed
            || app.versionOf(composeHash, FAR).allowed;
    }

    /// @dev Every compose hash with every profile, on one device or the other.
    function _question(uint256 probe, uint64 time)
        private
        view
        returns (IAppAuth.AppBootInfo memory info, Facts memory facts)
    {
        if (time == 0) time = _now();
        uint256 profile = _profileOf(probe);
        info.appId = address(app);
        info.composeHash = _hash(probe / PROFILES);
        info.deviceId = _device(_deviceOf(probe));
        info.tcbStatus = "UpToDate";
        if (profile == 0) {
            facts = Facts(time, TeeVariants.TDX, 0, true);
        } else if (profile == 1) {
            info.tcbStatus = "OutOfDate";
            facts = Facts(time + 100, TeeVariants.TDX, OUTDATED_SINCE, true);
        } else if (profile == 2) {
            info.advisoryIds = new string[](2);
            (info.advisoryIds[0], info.advisoryIds[1]) = (_advisory(0), _advisory(1));
            facts = Facts(time + 2 hours, TeeVariants.TDX, 0, true);
        } else {
            facts = Facts(time, TeeVariants.SEV_SNP, 0, false);
        }
    }

    function _profileOf(uint256 probe) private pure returns (uint256) {
        return probe % PROFILES;
    }

    function _deviceOf(uint256 probe) private pure returns (uint256) {
        return (probe + probe / PROFILES) % 2;
    }

    function _hash(uint256 choice) private pure returns (bytes32) {
        return bytes32(choice % HASHES + 0x11);
    }

    function _device(uint256 choice) private pure returns (bytes32) {
        return bytes32(choice % 2 + 0x21);
    }

    function _advisory(uint256 choice) private pure returns (string memory) {
        return choice % 2 == 0 ? "INTEL-SA-00828" : "INTEL-SA-00837";
    }

    function _policy(uint256 choice) private pure returns (AppPolicy memory) {
        uint16[4] memory statuses =
            [TcbStatuses.ALL, TcbStatuses.UP_TO_DATE, TcbStatuses.UP_TO_DATE | TcbStatuses.OUTDATED, 0];
        uint8[4] memory variants = [TeeVariants.ALL, TeeVariants.ALL, TeeVariants.TDX, TeeVariants.SEV_SNP];
        return AppPolicy({
            allowAnyDevice: choice & 1 != 0,
            teeVariants: variants[choice >> 1 & 3],
            tcbStatuses: statuses[choice % 13 == 0 ? 3 : (choice >> 3) % 3],
            tcbGracePeriod: choice >> 5 & 1 != 0 ? 30 days : 0,
            anyAdvisory: choice >> 6 & 3 != 0,
            maxStateAge: choice >> 8 & 1 != 0 ? 1 hours : choice >> 9 & 1 != 0 ? 1 days : 0,
            requireGpu: choice >> 10 & 3 == 0
        });
    }

    /// @dev As strict as the other in everything.
    function _isWithin(AppPolicy memory a, AppPolicy memory b) private pure returns (bool) {
        return (b.allowAnyDevice || !a.allowAnyDevice) && a.teeVariants & ~b.teeVariants == 0
            && a.tcbStatuses & ~b.tcbStatuses == 0 && a.tcbGracePeriod <= b.tcbGracePeriod
            && (b.anyAdvisory || !a.anyAdvisory) && (a.requireGpu || !b.requireGpu)
            && (b.maxStateAge == 0 || (a.maxStateAge != 0 && a.maxStateAge <= b.maxStateAge));
    }
}
