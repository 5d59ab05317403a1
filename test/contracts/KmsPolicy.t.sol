// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {KmsAuth} from "../../contracts/KmsAuth.sol";
import {IAppAuth} from "../../contracts/interfaces/IAppAuth.sol";
import {Facts, RuleVerdict} from "../../contracts/interfaces/IAppPolicy.sol";
import {IGoverned} from "../../contracts/interfaces/IGoverned.sol";
import {IKmsAuth} from "../../contracts/interfaces/IKmsAuth.sol";
import {IKmsManagement} from "../../contracts/interfaces/IKmsManagement.sol";
import {IKmsTypes} from "../../contracts/interfaces/IKmsTypes.sol";
import {GovernanceTest} from "./support/GovernanceTest.sol";
import {CustomApp, PolicyEchoApp, RevertingApp, UnexplainedApp, UnruledApp} from "./support/Mocks.sol";
import {TestVm, vm} from "./support/TestVm.sol";

/// @notice What a KMS contract keeps and answers besides its lists.
contract KmsPolicyTest is GovernanceTest {
    IAppAuth.AppBootInfo private boot;
    Facts private facts = Facts(11, 22, 33, true);

    function setUp() public override {
        super.setUp();
        boot = _bootInfo();
        kms.registerApp(address(app));
        vm.startPrank(OWNER);
        kms.addOsImageHash(boot.osImageHash);
        app.addComposeHash(boot.composeHash);
        app.addDevice(boot.deviceId);
        _pass(DELAY);
        kms.settle();
        app.settle();
        vm.stopPrank();
    }

    // ------------------------------------------------------------ set-up

    function test_initialize_with_delay_and_guardian() public {
        IKmsAuth made = IKmsAuth(
            address(
                new ERC1967Proxy(
                    address(new KmsAuth()),
                    abi.encodeWithSignature(
                        "initialize(address,address,uint32,address)", OWNER, address(7), DELAY, GUARDIAN
                    )
                )
            )
        );
        vm.assertEq(made.owner(), OWNER);
        vm.assertEq(made.appImplementation(), address(7));
        vm.assertEq(made.delay(), DELAY);
        vm.assertEq(made.guardian(), GUARDIAN);
        vm.expectRevert(bytes4(keccak256("InvalidInitialization()")));
        made.initialize(STRANGER, address(0), 0, address(0));
    }

    function test_initialize_refuses_too_long_a_delay() public {
        address implementation = address(new KmsAuth());
        vm.expectRevert(
            abi.encodeWithSelector(IGoverned.DelayTooLong.selector, uint32(365 days + 1), uint32(365 days))
        );
        new ERC1967Proxy(
            implementation,
            abi.encodeWithSignature(
                "initialize(address,address,uint32,address)", OWNER, address(0), 365 days + 1, address(0)
            )
        );
    }

    // ------------------------------------------------------------ kmsInfo

    function test_first_keys_at_once_and_other_keys_later() public {
        vm.startPrank(OWNER);
        kms.setKmsInfo(_info("k", "c"));
        _assertInfo("k", "c", "quote");
        // The same keys with other evidence.
        IKmsTypes.KmsInfo memory same = _info("k", "c");
        same.quote = "newer";
        kms.setKmsInfo(same);
        _assertInfo("k", "c", "newer");

        vm.recordLogs();
        kms.setKmsInfo(_info("k2", "c"));
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        _assertScheduled(
            logs[0],
            address(kms),
            "kms-info",
            0,
            keccak256("k2"),
            _due(),
            // Without the evidence, which would be long.
            abi.encode(IKmsTypes.KmsInfo("k2", "c", "", ""))
        );
        _pass(DELAY - 1);
        _assertInfo("k", "c", "newer");
        _pass(1);
        for (uint256 round = 0; round < 2; round++) {
            _assertInfo("k2", "c", "");
            vm.recordLogs();
            kms.settle();
            logs = vm.getRecordedLogs();
            vm.assertEq(logs.length, round == 0 ? 3 : 0);
            if (round != 0) continue;
            _assertNamed(logs[0], address(kms), IKmsManagement.KmsInfoSet.selector, abi.encode(bytes("k2")));
            _assertPolicy(logs[1], address(kms), OWNER, "kms-info", keccak256("k2"), true);
        }
    }

    function test_another_certificate_authority_waits_too() public {
        vm.startPrank(OWNER);
        kms.setKmsInfo(_info("k", "c"));
        kms.setKmsInfo(_info("k", "c2"));
        _assertInfo("k", "c", "quote");
        _assertCount(kms, 1);
        // Another change of mind begins anew, and the present keys withdraw it.
        kms.setKmsInfo(_info("k", "c3"));
        _assertCount(kms, 1);
        kms.setKmsInfo(_info("k", "c"));
        _assertCount(kms, 0);
    }

    /// @dev Else the next keys would be the first ones again.
    function test_no_keys_never_follow_keys() public {
        vm.startPrank(OWNER);
        kms.setKmsInfo(_info("k", "c"));
        IKmsTypes.KmsInfo[3] memory infos = [_info("", ""), _info("k", ""), _info("", "c")];
        for (uint256 i = 0; i < infos.length; i++) {
            vm.expectRevert(IKmsManagement.KmsKeysMissing.selector);
            kms.setKmsInfo(infos[i]);
        }
        _assertInfo("k", "c", "quote");
    }

    function test_one_key_alone_is_a_key() public {
        vm.startPrank(OWNER);
        kms.setKmsInfo(_info("", "c"));
        _assertInfo("", "c", "quote");
        kms.setKmsInfo(_info("k", "c"));
        _assertInfo("", "c", "quote");
        kms.settle();
        _pass(DELAY);
        _assertInfo("k", "c", "");
    }

    function test_other_keys_with_evidence_at_once_without_delay() public {
        vm.startPrank(OWNER);
        kms.setDelay(0);
        _pass(DELAY);
        kms.setKmsInfo(_info("k", "c"));
        kms.setKmsInfo(_info("k2", "c2"));
        _assertInfo("k2", "c2", "quote");
    }

    function test_evidence_is_replaced_at_once() public {
        vm.startPrank(OWNER);
        kms.setKmsInfo(_info("k", "c"));
        kms.setKmsQuote("newer");
        kms.setKmsEventlog("newer log");
        (,, bytes memory quote, bytes memory eventlog) = kms.kmsInfo();
        vm.assertEq(quote, "newer");
        vm.assertEq(eventlog, "newer log");
    }

    // ------------------------------------------------------------ gateway and implementation

    function test_another_gateway_waits() public {
        vm.startPrank(OWNER);
        kms.setGatewayAppId("first");
        vm.assertEq(kms.gatewayAppId(), "first");
        vm.recordLogs();
        kms.setGatewayAppId("second");
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        _assertScheduled(
            logs[0], address(kms), "gateway-app-id", 0, keccak256("second"), _due(), bytes("second")
        );
        _pass(DELAY - 1);
        vm.assertEq(kms.gatewayAppId(), "first");
        _pass(1);
        vm.assertEq(kms.gatewayAppId(), "second");
        vm.recordLogs();
        kms.settle();
        logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 3);
        _assertNamed(logs[0], address(kms), IKmsManagement.GatewayAppIdSet.selector, abi.encode("second"));
        vm.assertEq(kms.gatewayAppId(), "second");
    }

    function test_present_gateway_or_none_withdraws_another() public {
        vm.startPrank(OWNER);
        kms.setGatewayAppId("first");
        kms.setGatewayAppId("second");
        kms.setGatewayAppId("first");
        _assertCount(kms, 0);
        kms.setGatewayAppId("second");
        kms.setGatewayAppId("");
        _assertCount(kms, 0);
        vm.assertEq(kms.gatewayAppId(), "");
        _pass(DELAY);
        vm.assertEq(kms.gatewayAppId(), "");
    }

    function test_none_before_the_first_gateway_does_not_count() public {
        vm.startPrank(OWNER);
        kms.setGatewayAppId("");
        kms.setGatewayAppId("first");
        vm.assertEq(kms.gatewayAppId(), "first");
    }

    function test_another_implementation_waits() public {
        vm.startPrank(OWNER);
        kms.setAppImplementation(address(7));
        _assertPending(kms, "app-implementation", 0, _word(address(7)), _due(), "");
        _pass(DELAY - 1);
        vm.assertEq(kms.appImplementation(), address(appImplementation));
        _pass(1);
        vm.assertEq(kms.appImplementation(), address(7));
        vm.recordLogs();
        kms.settle();
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 3);
        _assertPolicy(logs[1], address(kms), OWNER, "app-implementation", _word(address(7)), true);
        kms.setAppImplementation(address(8));
        kms.setAppImplementation(address(7));
        _assertCount(kms, 0);
    }

    // ------------------------------------------------------------ lists

    function test_lists_widen_later_and_narrow_at_once() public {
        vm.startPrank(OWNER);
        kms.addKmsAggregatedMr("x");
        kms.addKmsDevice("x");
        kms.addOsImageHash("x");
        _assertPending(kms, "kms-aggregated-mr", "x", "x", _due(), "");
        _assertPending(kms, "kms-device", "x", "x", _due(), "");
        _assertPending(kms, "os-image", "x", "x", _due(), "");
        vm.assertFalse(kms.kmsAllowedAggregatedMrs("x"));
        vm.assertFalse(kms.kmsAllowedDeviceIds("x"));
        vm.assertFalse(kms.allowedOsImages("x"));
        _pass(DELAY);
        for (uint256 round = 0; round < 2; round++) {
            vm.assertTrue(kms.kmsAllowedAggregatedMrs("x"));
            vm.assertTrue(kms.kmsAllowedDeviceIds("x"));
            vm.assertTrue(kms.allowedOsImages("x"));
            kms.settle();
        }
        kms.removeKmsAggregatedMr("x");
        kms.removeKmsDevice("x");
        kms.removeOsImageHash("x");
        vm.assertFalse(kms.kmsAllowedAggregatedMrs("x"));
        vm.assertFalse(kms.kmsAllowedDeviceIds("x"));
        vm.assertFalse(kms.allowedOsImages("x"));
    }

    // ------------------------------------------------------------ roster

    function test_roster() public {
        vm.startPrank(OWNER);
        IKmsTypes.KmsNode memory node = IKmsTypes.KmsNode("key", "evidence", "https://one");
        vm.recordLogs();
        kms.setKmsNode(node);
        TestVm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        bytes32 one = keccak256("https://one");
        vm.assertEq(logs[0].topics[0], IKmsManagement.KmsNodeSet.selector);
        vm.assertEq(logs[0].topics[1], one);
        vm.assertEq(logs[0].data, abi.encode(node));
        _assertPolicy(logs[1], address(kms), OWNER, "kms-node", one, true);
        kms.setKmsNode(IKmsTypes.KmsNode("other key", 0, "https://two"));
        // The same endpoint: the entry is replaced.
        node.publicKey = "newer key";
        kms.setKmsNode(node);
        (bytes32[] memory ids, IKmsTypes.KmsNode[] memory nodes) = kms.kmsNodes();
        vm.assertEq(ids.length, 2);
        vm.assertEq(nodes.length, 2);
        vm.assertEq(ids[0], one);
        vm.assertEq(abi.encode(nodes[0]), abi.encode(node));
        vm.assertEq(nodes[1].endpoint, "https://two");

        vm.recordLogs();
        kms.removeKmsNode(one);
        logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        vm.assertEq(logs[0].topics[0], IKmsManagement.KmsNodeRemoved.selector);
        vm.assertEq(logs[0].topics[1], one);
        _assertPolicy(logs[1], address(kms), OWNER, "kms-node", one, false);
        (ids, nodes) = kms.kmsNodes();
        vm.assertEq(ids.length, 1);
        vm.assertEq(nodes[0].publicKey, "other key");
        vm.expectRevert(abi.encodeWithSelector(IKmsManagement.UnknownKmsNode.selector, one));
        kms.removeKmsNode(one);
    }

    // ------------------------------------------------------------ explain and decide

    function test_explanation_of_an_app() public view {
        RuleVerdict[] memory verdicts = kms.explain(boot, facts, 0);
        vm.assertEq(verdicts.length, 12);
        string[5] memory rules =
            ["registered", "not paused at the KMS contract", "OS image", "app contract exists", "not paused"];
        for (uint256 i = 0; i < verdicts.length; i++) {
            if (i < rules.length) vm.assertEq(verdicts[i].rule, rules[i]);
            vm.assertTrue(verdicts[i].passed);
            vm.assertEq(verdicts[i].reason, "");
        }
        _assertDecision("");
    }

    function test_explanation_of_an_app_that_fails_everywhere() public {
        boot.appId = address(0xE0A);
        boot.osImageHash = "other";
        vm.prank(GUARDIAN);
        kms.pauseApp(address(0xE0A));
        string[4] memory reasons = [
            "App not registered",
            "App is paused at the KMS contract",
            "OS image is not allowed",
            "App not deployed or invalid address"
        ];
        _assertExplained(reasons, 0);
        kms.registerApp(address(0xE0A));
        _assertExplained(reasons, 1);
        vm.startPrank(OWNER);
        kms.unpauseApp(address(0xE0A));
        _pass(DELAY);
        _assertExplained(reasons, 2);
        boot.osImageHash = _bootInfo().osImageHash;
        _assertExplained(reasons, 3);
        kms.deregisterApp(address(0xE0A));
        vm.assertEq(kms.explain(boot, facts, 0)[0].reason, "App was deregistered");
        _assertDecision("App was deregistered");
    }

    function test_future_of_an_app() public {
        vm.startPrank(OWNER);
        kms.deregisterApp(address(app));
        kms.registerApp(address(app));
        kms.pauseApp(address(app));
        kms.unpauseApp(address(app));
        kms.removeOsImageHash(boot.osImageHash);
        kms.addOsImageHash(boot.osImageHash);
        vm.stopPrank();
        (bool isAllowed, string memory reason) = kms.decide(boot, facts, _due() - 1);
        _assertVerdict(isAllowed, reason, "App was deregistered");
        (isAllowed, reason) = kms.decide(boot, facts, _due());
        _assertVerdict(isAllowed, reason, "");
        // The past stands for now.
        (isAllowed, reason) = kms.decide(boot, facts, 1);
        _assertVerdict(isAllowed, reason, "App was deregistered");
        vm.assertFalse(kms.explain(boot, facts, _due() - 1)[1].passed);
        vm.assertTrue(kms.explain(boot, facts, _due())[1].passed);
    }

    function test_explanation_of_a_kms() public {
        string[4] memory rules = ["TCB status", "OS image", "aggregated measurement", "device"];
        string[4] memory reasons = [
            "TCB status is not up to date",
            "OS image is not allowed",
            "Aggregated MR not allowed",
            "KMS is not allowed to boot on this device"
        ];
        boot.tcbStatus = "OutOfDate";
        vm.startPrank(OWNER);
        kms.removeOsImageHash(boot.osImageHash);
        for (uint256 i = 0; i < 5; i++) {
            RuleVerdict[] memory verdicts = kms.explainKms(boot, 0);
            vm.assertEq(verdicts.length, 4);
            for (uint256 j = 0; j < 4; j++) {
                vm.assertEq(verdicts[j].rule, rules[j]);
                vm.assertEq(verdicts[j].passed, j < i);
                vm.assertEq(verdicts[j].reason, j < i ? "" : reasons[j]);
            }
            _assertKms(boot, i < 4 ? reasons[i] : "");
            if (i == 0) boot.tcbStatus = "UpToDate";
            else if (i == 1) kms.addOsImageHash(boot.osImageHash);
            else if (i == 2) kms.addKmsAggregatedMr(boot.mrAggregated);
            else if (i == 3) kms.addKmsDevice(boot.deviceId);
            if (i == 0 || i == 4) continue;
            vm.assertTrue(kms.explainKms(boot, _due())[i].passed);
            vm.assertFalse(kms.explainKms(boot, _due() - 1)[i].passed);
            _pass(DELAY);
        }
    }

    // ------------------------------------------------------------ app contracts of all kinds

    function test_app_with_one_rule_is_asked_without_facts() public {
        _use(address(new CustomApp()));
        boot.tcbStatus = "closed";
        _assertDecision("closed");
        _assertLast("app contract", "closed");
        boot.tcbStatus = "open sesame";
        (bool isAllowed, string memory reason) = kms.decide(boot, facts, 0);
        vm.assertTrue(isAllowed);
        vm.assertEq(reason, "by its own rule");
        _assertLast("app contract", "");
    }

    function test_app_that_fails_when_asked_for_interfaces() public {
        _use(address(new UnruledApp()));
        _assertDecision("no rules");
        _assertLast("app contract", "no rules");
    }

    function test_app_that_reverts_gets_no_keys() public {
        _use(address(new RevertingApp()));
        bytes memory closed = abi.encodeWithSelector(RevertingApp.Closed.selector, 42);
        vm.expectRevert(closed);
        kms.isAppAllowed(boot);
        vm.expectRevert(closed);
        kms.decide(boot, facts, 0);
        _assertLast("app contract", "The app's contract reverted");
    }

    /// @dev Where it explains nothing, its verdict stands alone.
    function test_app_that_fails_to_explain() public {
        _use(address(new UnexplainedApp()));
        _assertDecision("decided");
        _assertLast("app contract", "not told");
    }

    function testFuzz_question_is_passed_on_unchanged(
        IAppAuth.AppBootInfo calldata asked,
        Facts calldata known,
        uint64 time
    ) public {
        boot = asked;
        _use(address(new PolicyEchoApp()));
        vm.prank(OWNER);
        kms.addOsImageHash(boot.osImageHash);
        _pass(DELAY);
        bytes memory question = abi.encode(boot, known, time);
        (bool isAllowed, string memory reason) = kms.decide(boot, known, time);
        vm.assertFalse(isAllowed);
        vm.assertEq(bytes(reason), question);
        RuleVerdict[] memory verdicts = kms.explain(boot, known, time);
        vm.assertEq(verdicts.length, 5);
        vm.assertEq(verdicts[4].rule, "echo");
        vm.assertTrue(verdicts[4].passed);
        vm.assertEq(bytes(verdicts[4].reason), question);
    }

    // ------------------------------------------------------------ access

    function testFuzz_only_the_owner_changes_the_policy(address caller) public {
        vm.assume(caller != OWNER && caller != address(0));
        bytes[] memory calls = new bytes[](13);
        calls[0] = abi.encodeCall(kms.setKmsInfo, (_info("k", "c")));
        calls[1] = abi.encodeCall(kms.setKmsQuote, ("q"));
        calls[2] = abi.encodeCall(kms.setKmsEventlog, ("e"));
        calls[3] = abi.encodeCall(kms.setGatewayAppId, ("g"));
        calls[4] = abi.encodeCall(kms.setAppImplementation, (address(7)));
        calls[5] = abi.encodeCall(kms.addKmsAggregatedMr, ("x"));
        calls[6] = abi.encodeCall(kms.removeKmsAggregatedMr, ("x"));
        calls[7] = abi.encodeCall(kms.addKmsDevice, ("x"));
        calls[8] = abi.encodeCall(kms.removeKmsDevice, ("x"));
        calls[9] = abi.encodeCall(kms.removeOsImageHash, ("x"));
        calls[10] = abi.encodeCall(kms.setKmsNode, (IKmsTypes.KmsNode("k", 0, "u")));
        calls[11] = abi.encodeCall(kms.removeKmsNode, ("x"));
        calls[12] = abi.encodeCall(kms.disableUpgrades, ());
        for (uint256 i = 0; i < calls.length; i++) {
            _assertRefused(address(kms), caller, calls[i]);
        }
    }

    function test_upgrades_are_disabled_for_good() public {
        vm.assertFalse(kms.upgradesDisabled());
        vm.recordLogs();
        vm.prank(OWNER);
        kms.disableUpgrades();
        _assertChange(
            address(kms), OWNER, IKmsManagement.UpgradesDisabled.selector, "", "upgrades-disabled", 0, true
        );
        vm.assertTrue(kms.upgradesDisabled());
    }

    // ------------------------------------------------------------ helpers

    function _use(address appId) private {
        kms.registerApp(appId);
        boot.appId = appId;
    }

    function _info(bytes memory k256, bytes memory ca) private pure returns (IKmsTypes.KmsInfo memory) {
        return IKmsTypes.KmsInfo(k256, ca, "quote", "log");
    }

    function _assertInfo(bytes memory k256, bytes memory ca, bytes memory quote) private view {
        (bytes memory a, bytes memory b, bytes memory c, bytes memory d) = kms.kmsInfo();
        vm.assertEq(a, k256);
        vm.assertEq(b, ca);
        vm.assertEq(c, quote);
        vm.assertEq(d, quote.length == 0 ? bytes("") : bytes("log"));
    }

    function _assertDecision(string memory expected) private view {
        (bool isAllowed, string memory reason) = kms.decide(boot, facts, 0);
        _assertVerdict(isAllowed, reason, expected);
    }

    /// @dev The first `passed` of the KMS contract's own rules pass, the others fail.
    function _assertExplained(string[4] memory reasons, uint256 passed) private view {
        RuleVerdict[] memory verdicts = kms.explain(boot, facts, 0);
        vm.assertEq(verdicts.length, 4);
        for (uint256 i = 0; i < 4; i++) {
            vm.assertEq(verdicts[i].passed, i < passed);
            vm.assertEq(verdicts[i].reason, i < passed ? "" : reasons[i]);
        }
        _assertDecision(reasons[passed]);
    }

    function _assertLast(string memory rule, string memory reason) private view {
        RuleVerdict[] memory verdicts = kms.explain(boot, facts, 0);
        vm.assertEq(verdicts.length, 5);
        vm.assertEq(verdicts[4].rule, rule);
        vm.assertEq(verdicts[4].passed, bytes(reason).length == 0);
        vm.assertEq(verdicts[4].reason, reason);
    }
}
