// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppPolicy} from "../../contracts/governance/AppPolicies.sol";
import {IAppAuth} from "../../contracts/interfaces/IAppAuth.sol";
import {Facts, RuleVerdict} from "../../contracts/interfaces/IAppPolicy.sol";
import {GovernanceTest} from "./support/GovernanceTest.sol";
import {vm} from "./support/TestVm.sol";

/// @notice What is decided is what is explained: the shortcut of apps that demand nothing included.
contract ExplainTest is GovernanceTest {
    string[4] private statuses = ["UpToDate", "OutOfDate", "SWHardeningNeeded", "another"];

    function testFuzz_the_reason_is_that_of_the_first_rule_that_fails(
        AppPolicy memory policy,
        Facts memory facts,
        uint8 what,
        uint32 later
    ) public {
        IAppAuth.AppBootInfo memory boot = _bootInfo();
        vm.startPrank(OWNER);
        // Half of the policies demand nothing, which is judged by a way of its own.
        if (what & 1 != 0) app.setPolicy(policy);
        if (what & 2 != 0) app.addComposeHash(boot.composeHash);
        if (what & 4 != 0) app.addDevice(boot.deviceId);
        if (what & 8 != 0) app.pause();
        if (what & 16 != 0) app.unpause();
        vm.stopPrank();
        boot.tcbStatus = statuses[(what >> 5) & 3];
        if (what & 128 != 0) {
            boot.advisoryIds = new string[](1);
            boot.advisoryIds[0] = "INTEL-SA-1";
        }
        uint64 time = uint64(block.timestamp) + later;

        RuleVerdict[] memory verdicts = app.explain(boot, facts, time);
        string memory expected;
        for (uint256 i = verdicts.length; i > 0; i--) {
            if (!verdicts[i - 1].passed) expected = verdicts[i - 1].reason;
        }
        (bool isAllowed, string memory reason) = app.decide(boot, facts, time);
        vm.assertEq(reason, expected);
        vm.assertEq(isAllowed, bytes(expected).length == 0);
    }
}
