// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppAuth} from "./IAppAuth.sol";

/// @notice What a KMS knows of a VM beyond {IAppAuth-AppBootInfo}. All zero: it says nothing, and every rule that
/// needs to know denies.
/// @param time The KMS's own clock, Unix seconds.
/// @param teeVariant Bit of the platform's kind, see {TeeVariants}; exactly one bit, or 0.
/// @param tcbOutdatedSince When the vendor published the TCB level that the platform lacks, Unix seconds; 0 when
/// it lacks none or the KMS does not know.
/// @param gpuAttested The evidence proves that the VM's GPUs were attested.
struct Facts {
    uint64 time;
    uint8 teeVariant;
    uint64 tcbOutdatedSince;
    bool gpuAttested;
}

/// @notice One rule and what it says of one VM.
/// @param rule Its name, stable, for people and programs.
/// @param passed The verdict.
/// @param reason Why it failed; empty when it passed.
struct RuleVerdict {
    string rule;
    bool passed;
    string reason;
}

/// @title The question a KMS asks about an app, with all it knows
/// @notice A contract that answers this is asked this way; any other is asked {IAppAuth-isAppAllowed}. Its ERC-165
/// id is the XOR of the two selectors.
interface IAppPolicy {
    /// @notice Whether a VM with this identity may have the app's keys at `time`.
    /// @param time When, Unix seconds; 0 for now. Answers about the future assume that nothing else is decided.
    /// @return isAllowed The verdict.
    /// @return reason The first rule that failed; empty when allowed.
    function decide(IAppAuth.AppBootInfo calldata bootInfo, Facts calldata facts, uint64 time)
        external
        view
        returns (bool isAllowed, string memory reason);

    /// @notice Every rule with its verdict; {decide} allows exactly when all of them pass.
    function explain(IAppAuth.AppBootInfo calldata bootInfo, Facts calldata facts, uint64 time)
        external
        view
        returns (RuleVerdict[] memory);
}
