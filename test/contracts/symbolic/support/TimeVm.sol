// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @dev The cheatcode about time, which only these tests use.
interface TimeVm {
    function warp(uint256 time) external;
}

TimeVm constant timeVm = TimeVm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);
