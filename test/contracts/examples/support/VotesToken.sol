// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC5805} from "@openzeppelin/contracts/interfaces/IERC5805.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @dev What OpenZeppelin's ERC20Votes does, without delegation by signature: the original needs an EVM that
/// has MCOPY.
contract VotesToken is ERC20, IERC5805 {
    struct Point {
        uint48 time;
        uint208 value;
    }

    error ERC5805FutureLookup(uint256 timepoint, uint48 clock);
    error NotOffered();

    bool private immutable _countsSeconds;
    mapping(address account => address) public delegates;
    mapping(address delegatee => Point[]) private _votes;
    Point[] private _supply;

    constructor(bool countsSeconds) ERC20("Votes", "VOTE") {
        _countsSeconds = countsSeconds;
    }

    function mint(address account, uint256 amount) external {
        _mint(account, amount);
    }

    function delegate(address delegatee) external {
        address before = delegates[msg.sender];
        delegates[msg.sender] = delegatee;
        emit DelegateChanged(msg.sender, before, delegatee);
        _move(before, delegatee, balanceOf(msg.sender));
    }

    function delegateBySig(address, uint256, uint256, uint8, bytes32, bytes32) external pure {
        revert NotOffered();
    }

    function clock() public view returns (uint48) {
        return uint48(_countsSeconds ? block.timestamp : block.number);
    }

    function CLOCK_MODE() external view returns (string memory) {
        return _countsSeconds ? "mode=timestamp" : "mode=blocknumber&from=default";
    }

    function getVotes(address account) external view returns (uint256) {
        return _latest(_votes[account]);
    }

    function getPastVotes(address account, uint256 timepoint) external view returns (uint256) {
        return _at(_votes[account], timepoint);
    }

    function getPastTotalSupply(uint256 timepoint) external view returns (uint256) {
        return _at(_supply, timepoint);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (from == address(0) || to == address(0)) _push(_supply, totalSupply());
        _move(delegates[from], delegates[to], value);
    }

    function _move(address from, address to, uint256 value) private {
        if (from == to || value == 0) return;
        if (from != address(0)) _push(_votes[from], _latest(_votes[from]) - value);
        if (to != address(0)) _push(_votes[to], _latest(_votes[to]) + value);
    }

    function _push(Point[] storage points, uint256 value) private {
        points.push(Point(clock(), uint208(value)));
    }

    function _latest(Point[] storage points) private view returns (uint256) {
        return points.length == 0 ? 0 : points[points.length - 1].value;
    }

    /// @dev The last value of that time or before it.
    function _at(Point[] storage points, uint256 timepoint) private view returns (uint256) {
        if (timepoint >= clock()) revert ERC5805FutureLookup(timepoint, clock());
        for (uint256 i = points.length; i > 0; i--) {
            if (points[i - 1].time <= timepoint) return points[i - 1].value;
        }
        return 0;
    }
}
