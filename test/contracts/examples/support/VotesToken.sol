// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Votes} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Votes.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

/// @dev OpenZeppelin's token, by whichever of the two clocks, and mint for everybody.
contract VotesToken is ERC20Votes {
    bool private immutable _countsSeconds;

    constructor(bool countsSeconds) ERC20("Votes", "VOTE") EIP712("Votes", "1") {
        _countsSeconds = countsSeconds;
    }

    function mint(address account, uint256 amount) external {
        _mint(account, amount);
    }

    function clock() public view override returns (uint48) {
        return uint48(_countsSeconds ? block.timestamp : block.number);
    }

    function CLOCK_MODE() public view override returns (string memory) {
        return _countsSeconds ? "mode=timestamp" : "mode=blocknumber&from=default";
    }
}
